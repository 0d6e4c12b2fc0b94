"""A page contains the proven model and its runtime byte by byte, and refuses models that a browser cannot feed."""

import json
import re

import numpy as np
import pytest
import torch
from web_runtime import stand_in

from segnet import __version__
from segnet.classes import Classes
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.exporters import web
from segnet.exporters.web import Example, Tiling, bundled, embedded_files, export_page, require_page
from segnet.exporters.web.runtime import WEB_FILES, find_web_runtime
from segnet.models.metadata import Metadata

CLASSES = Classes.create(["</script><b>", "Straße"], ignore_index=200)
METADATA = Metadata(CLASSES, (0.5,) * 3, (0.2,) * 3, "uint8", "logits", "0" * 64)
EXAMPLE = Example(np.arange(36, dtype=np.uint8).reshape(3, 3, 4), np.arange(12).reshape(3, 4) % 2)
TILING = Tiling(100, 8, 0.25)


def written(tmp_path, option=None, content=b"a model", **changes):
    """Write a page of some bytes; return its path."""
    (tmp_path / "model.onnx").write_bytes(content)
    runtime = find_web_runtime(option or str(stand_in(tmp_path / "package")))
    path = tmp_path / "page.html"
    export_page(tmp_path / "model.onnx", METADATA, runtime, EXAMPLE, TILING, "a <street> & more", path)
    return path


def record_of(page):
    return json.loads(re.search(r'<script type="application/json" id="record">(.*?)</script>', page)[1])


def test_a_page_embeds_model_runtime_and_example(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "PART", 300)  # several script elements
    model = (
        torch.randint(0, 256, (1000,), generator=torch.Generator().manual_seed(0)).numpy().astype(np.uint8).tobytes()
    )
    path = written(tmp_path, content=model)
    page = path.read_text(encoding="utf-8")
    assert page.count('data-file="model"') == 4
    files = embedded_files(path)
    assert files.pop("model") == model
    assert files.pop("example") == EXAMPLE.image.tobytes() + EXAMPLE.ids.astype("<u2").tobytes()
    assert files == {
        f"{provider}.{kind}": f"// {file}".encode()
        for provider, names in WEB_FILES.items()
        for kind, file in zip(("mjs", "wasm"), names, strict=True)
    }


def test_a_page_holds_the_metadata_and_loads_nothing(tmp_path):
    page = written(tmp_path).read_text(encoding="utf-8")
    record = record_of(page)
    assert Metadata.read(json.dumps(record["metadata"]), "page").classes == CLASSES
    assert record["tiling"] == {"max_pixels": 100, "side": 8, "overlap": 0.25}
    assert record["example"] == {"height": 3, "width": 4, "least": 0.999}
    assert record["engines"]["wasm"]["script"] == {"type": "text/javascript"}
    assert "<title>a &lt;street&gt; &amp; more</title>" in page
    assert f'<meta name="generator" content="segnet {__version__}">' in page
    assert "ONNX Runtime Web 9.9.9 (Microsoft, MIT License)" in page
    assert "connect-src blob:" in page
    assert "https://" not in page
    assert "{{" not in page
    defined = {*re.findall(r"(--[\w-]+):", page), "--ratio"}  # the script sets the ratio
    assert set(re.findall(r"var\((--[\w-]+)", page)) <= defined
    assert page.index('id="record"') < page.index("<body>") < page.index('data-file="model"')


def test_a_page_of_the_cdn_embeds_the_model_only(tmp_path):
    path = written(tmp_path, "cdn")
    assert set(embedded_files(path)) == {"model", "example"}
    page = path.read_text(encoding="utf-8")
    assert "connect-src https://cdn.jsdelivr.net" in page
    place = record_of(page)["engines"]["webgpu"]["wasm"]
    assert place["url"].startswith("https://cdn.jsdelivr.net/npm/onnxruntime-web@1.")
    assert place["integrity"].startswith("sha384-")


def test_equal_models_give_equal_pages(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert written(tmp_path / "a").read_bytes() == written(tmp_path / "b").read_bytes()


def test_a_page_that_differs_from_its_model_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_parts", lambda name, data: iter(()))
    with pytest.raises(MachineError, match=r"page\.html: the written page does not contain the model"):
        written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "package"]


def test_a_model_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(web, "MAX_ONNX_BYTES", 3)
    with pytest.raises(CheckpointError, match="--format web: the model has 0 MiB, and a page at most 0: use a smaller"):
        written(tmp_path)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"mean": (0.5,) * 4}, "the model takes 4 channels, and browsers read RGB images: use ONNX"),
        ({"value_range": (0.0, 4000.0)}, "the model takes values of 0-4000, and browsers read 0-255"),
        ({"output": "classes"}, "leave out --output-kind classes"),
        ({"classes": Classes.create(["a"], task="multilabel")}, "--format web needs one class per pixel"),
    ],
)
def test_models_that_a_page_cannot_use_are_refused(metadata, message):
    fields = {name: getattr(METADATA, name) for name in METADATA.__slots__}
    with pytest.raises(ConfigError, match=message):
        require_page(Metadata(**{**fields, **metadata}))
    require_page(METADATA)


def test_modules_become_one_script(tmp_path):
    (tmp_path / "a.js").write_text("export const A = 1;\nexport async function b() {}\nfunction c() {}\n")
    (tmp_path / "d.js").write_text('import { A, b } from "./a.js";\n\nexport class D {}\n')
    joined = bundled(tmp_path / "a.js", tmp_path / "d.js")
    assert joined == "const A = 1;\nasync function b() {}\nfunction c() {}\n\nclass D {}\n"
