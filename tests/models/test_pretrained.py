"""safetensors folders: a saved model loads with the same result."""

import html
import json
import re

import pytest
import torch
from exports import CLASSES, SPEC, write_checkpoint

from segnet.classes import Classes
from segnet.errors import CheckpointError
from segnet.inference.runtimes import open_runtime
from segnet.models.checkpoint import load_checkpoint
from segnet.models.pretrained import is_pretrained, load_pretrained, model_card, save_pretrained


@pytest.fixture
def folder(tmp_path):
    model, classes = load_checkpoint(write_checkpoint(tmp_path / "a.ckpt"))
    save_pretrained(SPEC, model.state_dict(), classes, tmp_path / "model")
    return tmp_path / "model"


def images() -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 33, 47), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@torch.inference_mode()
def test_a_pretrained_folder_gives_the_checkpoint_s_logits(folder):
    expected = load_checkpoint(folder.parent / "a.ckpt")[0](images())
    model, classes = load_pretrained(folder)
    assert classes == CLASSES
    assert torch.equal(model(images()), expected)
    for path in (folder, folder / "model.safetensors"):
        assert is_pretrained(path)
        torch.testing.assert_close(open_runtime(path, "cpu")(images()), expected, rtol=1e-4, atol=1e-4)


def test_the_card_names_the_classes(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: segnet\n")
    assert "| 1 | Straße | 0, 128, 0 |" in card


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_missing_and_damaged_files_are_refused(folder, name):
    file = folder / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="is not a model of segnet, or is damaged") as error:
        load_pretrained(folder)
    assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        load_pretrained(folder)


def test_the_card_escapes_class_names(tmp_path):
    names = ["[/x]", "road [paved](http://a.b)", "<b>|</b>", "two\nlines\x1b", "*_`~"]
    card = model_card(SPEC, Classes.create(names))
    rows = [line for line in card.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [4] * 5
    shown = [html.unescape(re.sub(r"\\(.)", r"\1", row.split(" | ")[1])) for row in rows]
    assert shown == ["[/x]", "road [paved](http://a.b)", "<b>|</b>", "two\\nlines\\x1b", "*_`~"]
    assert not re.search(r"<b>|[^\\]\[|\x1b", "".join(rows))


def test_a_changed_byte_and_an_edited_configuration_are_detected(folder):
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1000] + bytes([whole[-1000] ^ 1]) + whole[-999:])
    with pytest.raises(CheckpointError, match=r"model\.safetensors changed after the export"):
        load_pretrained(folder)
    weights.write_bytes(whole)
    config = (folder / "config.json").read_text(encoding="utf-8")
    (folder / "config.json").write_text(config.replace("sky", "heaven"), encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"remove its 'sha256' entry"):
        load_pretrained(folder)
    edited = json.loads(config.replace("sky", "heaven"))
    del edited["sha256"]
    (folder / "config.json").write_text(json.dumps(edited), encoding="utf-8")
    assert load_pretrained(folder)[1].names[0] == "heaven"


def test_only_the_named_file_is_loaded(folder):
    (folder / "model.safetensors").rename(folder / "mine.safetensors")
    assert load_pretrained(folder / "mine.safetensors")[1] == CLASSES
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_pretrained(folder)
