"""The documentation: every command runs or parses, and links are valid."""

import functools
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import blocks as fences
import pytest
import reference
from warm_python import WARM_PYTHON

from segnet.cli import VERBS
from segnet.cli.arguments import verb_parser
from segnet.cli.composition import composed
from segnet.cli.grammar import to_overrides
from segnet.cli.help import SCHEMAS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"


def load(path):
    """Import a script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # needed by dataclasses
    spec.loader.exec_module(module)
    return module


generated_pages = functools.cache(reference.pages)
PAGES = [ROOT / "README.md", DOCS / "index.md", DOCS / "benchmarks.md", DOCS / "reference" / "command-line.md"]
PAGES += [*sorted((DOCS / "guides").glob("*.md")), *sorted((DOCS / "concepts").glob("*.md"))]
BLOCKS = {page: fences.blocks(page.read_text(encoding="utf-8")) for page in PAGES}
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

# Options that shorten documented trainings: two steps of a model with every part. The checkpoint of `run` has them too.
TINY = ["trainer.max_steps=2", "trainer.accelerator=cpu", "data.num_workers=0", "data.batch_size=2", "worst_images=1"]
TINY += ["data.crop_size=[32,32]", "backbone.depths=[1,1,1,1]", "backbone.base_channels=16"]
TINY += ["backbone.stem_channels=16", "decoder.aspp_channels=8", "decoder.low_level_channels=4"]
TINY += ["decoder.decoder_channels=8"]
TINY_SHAPES = ["dataset.num_train=24", "dataset.num_val=4"]
SHORTER = {"train": TINY, "evaluate": ["data.num_workers=0"], "inspect": ["data.num_workers=0"]}
SEGNET = f"""\
import runpy, sys
arguments = sys.argv[1:]
arguments += {SHORTER!r}.get(arguments[0], [])
if arguments[0] == "train" and not any("dataset=" in word or "experiment=" in word for word in arguments):
    arguments += {TINY_SHAPES!r}
sys.argv = ["segnet", *arguments]
runpy.run_module("segnet", run_name="__main__", alter_sys=True)
"""

PRELUDE = f"""\
import segnet
train = segnet.train
segnet.train = lambda *options, **values: train(*(options or {TINY!r}), **values)
"""


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_block_of_commands_has_a_mark(page):
    for block in BLOCKS[page]:
        if block.language in fences.SHELL or block.mark.startswith(("run", "check", "show", "command")):
            assert block.kind in fences.KINDS, f"{page.name}:{block.line}: mark the block, as docs/writing.md says"


CHECKED = [
    pytest.param(words, id=f"{page.stem}:{block.line}:{'-'.join(words[:2])}")
    for page in PAGES
    for block in BLOCKS[page]
    if block.kind in ("run", "check", "command") and block.language != "python"
    for words in fences.commands(block.text)
]


@pytest.mark.parametrize("words", CHECKED)
def test_the_options_of_a_documented_command_exist(words, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    script = next((word for word in words if word.startswith(("docs/", "benchmarks/")) and "." in word), None)
    if script:
        assert (ROOT / script).is_file()
    found = fences.verb_of(words)
    if found is None:
        if script and script.startswith("benchmarks/"):
            source = (ROOT / script).read_text(encoding="utf-8")
            assert all(f'"{word}"' in source for word in words if word.startswith("--"))
        return
    verb, arguments = found
    assert verb in VERBS
    if verb not in SCHEMAS:
        verb_parser(verb).parse_args(arguments)
        return
    schema = SCHEMAS[verb]
    if "myconf" in arguments:  # a file from the guide
        write_files(BLOCKS[DOCS / "guides" / "first-model.md"], tmp_path)
        arguments[arguments.index("myconf")] = str(tmp_path / "myconf")
    arguments = [word for word in arguments if not word.startswith("hydra")]  # launchers are optional packages
    composed(verb, schema, to_overrides(verb, schema, arguments))


def write_files(page_blocks, folder):
    for block in page_blocks:
        if block.kind == "file":
            path = folder / block.mark.partition(": ")[2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


@pytest.fixture
def workplace(tmp_path, run):
    """A folder for documented commands, and an environment that shortens them."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "segnet.py").write_text(SEGNET, encoding="utf-8")
    for name, command in (("segnet", [*WARM_PYTHON, str(tools / "segnet.py")]), ("python", WARM_PYTHON)):
        (tools / name).write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("docs", "benchmarks", "train.py", "predict.py"):
        (folder / name).symlink_to(ROOT / name)
    load(DOCS / "example_data.py").write_folder(folder / "mydata", num_train=12, num_val=4, size=(48, 64))
    for target in ("photo.jpg", "street.jpg", "photos/a.jpg", "scans/b.png"):
        (folder / target).parent.mkdir(exist_ok=True)
        shutil.copy(folder / "mydata/images/val/000.jpg", folder / target)
    for name in ("best.ckpt", "config.yaml"):
        shutil.copy(run[0] / name, folder / name)
    (folder / "runs" / "earlier").mkdir(parents=True)
    shutil.copy(run[0] / "best.ckpt", folder / "runs" / "earlier" / "best.ckpt")
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    return folder, {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def run_blocks(page, workplace, slow):
    folder, environment = workplace
    write_files(BLOCKS[page], folder)
    for block in BLOCKS[page]:
        missing = [name for name in block.packages if importlib.util.find_spec(name) is None]
        if block.kind != "run" or (block.is_slow and not slow) or missing:
            continue
        python = block.language == "python"
        command = (
            [*WARM_PYTHON, "-c", PRELUDE + block.text] if python else ["bash", "-euo", "pipefail", "-c", block.text]
        )
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}:{block.line}\n{block.text}\n{done.stdout}\n{done.stderr}"


def ids(pages):
    return [str(page.relative_to(ROOT)) for page in pages]


QUICK = [page for page in PAGES if any(block.kind == "run" and not block.is_slow for block in BLOCKS[page])]
SLOW = [page for page in PAGES if any(block.kind == "run" and block.is_slow for block in BLOCKS[page])]


@pytest.mark.parametrize("page", QUICK, ids=ids(QUICK))
def test_the_commands_of_a_page_run(page, workplace):
    run_blocks(page, workplace, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("page", SLOW, ids=ids(SLOW))
def test_the_long_commands_of_a_page_run(page, workplace):
    run_blocks(page, workplace, slow=True)


def test_the_readme_is_short_and_keeps_its_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 180
    marked = dict(re.findall(r"<!-- command: (\w+) -->\n```\n(.*?)\n```", text, flags=re.DOTALL))
    assert marked.keys() == {"start", "test"}
    assert "-m pytest" in marked["test"]


@pytest.mark.parametrize(
    "page", [*PAGES, *DOCS.glob("*.md"), DOCS / "reference" / "index.md"], ids=lambda page: page.stem
)
def test_links_and_images_exist(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    generated = {DOCS / uri for uri in generated_pages()}
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            path = (page.parent / target).resolve()
            assert path.exists() or path in generated, f"{page.name}: {target}"


def test_images_are_small():
    images = [path for path in DOCS.rglob("*") if path.suffix in (".png", ".svg", ".jpg")]
    assert images
    assert max(path.stat().st_size for path in images) <= 150_000


@pytest.mark.slow  # .ci/run builds it too
def test_the_site_builds_strictly(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    pytest.importorskip("material")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    html = (tmp_path / "site" / "reference" / "python.html").read_text(encoding="utf-8")
    assert 'id="segnet.Predictor"' in html
    for page in (tmp_path / "site").rglob("*.html"):  # no external resources
        fetched = re.findall(
            r'<(?:script|img|link)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert fetched == []


# The notebook.


@pytest.mark.slow
def test_the_quickstart_notebook_runs(tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    notebook = load(DOCS / "tools" / "run_notebook.py").executed(tmp_path)
    texts = [output["text"] for cell in notebook.cells for output in cell.get("outputs", []) if "text" in output]
    assert any("Polygon(" in text for text in texts)
    assert (
        sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])) == 2
    )
