"""Fine-tuning from a checkpoint with other classes; another architecture is refused."""

import copy
from pathlib import Path

import pytest
import torch
from tiny import components

from segnet.classes import Classes
from segnet.errors import CheckpointError
from segnet.models.auxiliary import FCNHead
from segnet.models.segmentation_model import SegmentationModel
from segnet.training.finetuning import require_same_model, start_from

FILE = Path("a.ckpt")


def spec(num_classes=3, output_stride=16, **backbone):
    parts = components(output_stride)
    parts["backbone"] |= backbone
    return {**parts, "num_classes": num_classes, "mean": [0.5] * 3, "std": [0.5] * 3}


def model(seed, **changes):
    torch.manual_seed(seed)
    return SegmentationModel(**spec(**changes))


def checkpoint(names, **changes):
    trained = model(7, num_classes=len(names), **changes)
    torch.nn.init.normal_(trained.decoder.classifier.bias)  # a trained bias is not zero
    return {
        "state_dict": {f"model.{name}": value for name, value in trained.state_dict().items()},
        "hyper_parameters": {
            "model": spec(len(names), **changes),
            "classes": Classes.create(names).to_dict(),
        },
    }


def loaded_names(new, before, content):
    """Return the names of weights that equal the checkpoint's; assert that all others are unchanged."""
    theirs = {name.removeprefix("model."): value for name, value in content["state_dict"].items()}
    names = set()
    for name, value in new.state_dict().items():
        if name in theirs and torch.equal(value, theirs[name]):
            names.add(name)
        else:
            assert torch.equal(value, before[name])
    return names


def test_the_same_classes_load_every_weight():
    new, content = model(1), checkpoint(["a", "b", "c"])
    before = copy.deepcopy(new.state_dict())
    start_from(new, Classes.create(["a", "b", "c"]), content, FILE)
    assert loaded_names(new, before, content) == set(new.state_dict())


@pytest.mark.parametrize("names", [["x", "y"], ["x", "y", "z", "v", "w"], ["x", "y", "z"]])
def test_other_classes_get_a_new_classifier_and_a_log_line(names):
    new, content = model(1), checkpoint(names)
    before = copy.deepcopy(new.state_dict())
    lines = start_from(new, Classes.create(["a", "b", "c"]), content, FILE)
    assert set(new.state_dict()) - loaded_names(new, before, content) == {
        "decoder.classifier.weight",
        "decoder.classifier.bias",
    }
    assert lines[1:2] == ["a.ckpt: 0 of 3 classes matched by name; new: a, b, c"]
    assert "not loaded: decoder.classifier.bias, decoder.classifier.weight; randomly initialized: dec" in lines[2]


def test_a_part_missing_from_the_model_is_skipped():
    new, content = model(1), checkpoint(["a", "b", "c"])
    content["state_dict"]["model.auxiliary.weight"] = torch.zeros(2)
    lines = start_from(new, Classes.create(["a", "b", "c"]), content, FILE)
    assert lines[-1] == "a.ckpt: not loaded: auxiliary.weight; randomly initialized: none"


@pytest.mark.parametrize("changes", [{"depths": [1, 1, 2, 1]}, {"block": "bottleneck"}])
def test_another_architecture_is_a_one_line_error(changes):
    content = checkpoint(["a", "b", "c"], **changes)
    with pytest.raises(CheckpointError, match=r"a\.ckpt: has another architecture: \d+ of its weights") as caught:
        start_from(model(1), Classes.create(["a", "b", "c"]), content, FILE)
    assert "\n" not in str(caught.value)


def test_resuming_another_architecture_names_the_different_options():
    content = checkpoint(["a", "b", "c"], depths=[1, 1, 2, 1])
    with pytest.raises(
        CheckpointError, match=r"backbone\.depths=\[1, 1, 1, 1\] \(was \[1, 1, 2, 1\]\).*init_from="
    ) as caught:
        require_same_model(torch.nn.ModuleDict({"model": model(1)}), content, spec(), FILE)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match=r"3 classes \(were 2\)"):
        require_same_model(torch.nn.ModuleDict({"model": model(1)}), checkpoint(["a", "b"]), spec(), FILE)


def test_resuming_the_same_architecture_is_accepted():
    require_same_model(torch.nn.ModuleDict({"model": model(1)}), checkpoint(["a", "b", "c"]), spec(), FILE)


def test_common_classes_keep_their_rows_when_classes_are_added_and_reordered():
    content = checkpoint(["road", "sky", "tree"])
    head = FCNHead(backbone_channels=[8, 8, 8, 8], num_classes=3, channels=4, stage=3)
    content["state_dict"] |= {f"auxiliary_head.{name}": value for name, value in head.state_dict().items()}
    torch.manual_seed(1)
    new, new_head = model(1, num_classes=4), FCNHead(backbone_channels=[8, 8, 8, 8], num_classes=4, channels=4, stage=3)
    rows = {part: part.classifier.weight.detach().clone() for part in (new.decoder, new_head)}
    lines = start_from(new, Classes.create(["tree", "car", "road", "sky"]), content, FILE, new_head)
    for part, prefix in ((new.decoder, "model.decoder."), (new_head, "auxiliary_head.")):
        for kind in ("weight", "bias"):
            found = getattr(part.classifier, kind)
            assert torch.equal(found[[2, 3, 0]], content["state_dict"][f"{prefix}classifier.{kind}"])
        assert torch.equal(part.classifier.weight[1], rows[part][1])
    others = [name for name in head.state_dict() if not name.startswith("classifier.")]
    assert all(torch.equal(new_head.state_dict()[name], head.state_dict()[name]) for name in others)
    assert "a.ckpt: 3 of 4 classes matched by name; new: car" in lines
