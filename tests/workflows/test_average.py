"""Averaged weights are the mean of the checkpoints' weights, with running statistics that fit them."""

import json

import pytest
import torch
from tiny import CPU, OVERLAPPING, SHAPES
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from segnet.config import LoaderConfig
from segnet.errors import CheckpointError, ConfigError
from segnet.models.checkpoint import read_checkpoint, save_checkpoint
from segnet.training.task import SegmentationTask
from segnet.verb_config import AverageConfig
from segnet.workflows.average import average, averaged, reestimate_norms
from segnet.workflows.evaluate import evaluate


def changed(checkpoint, path, change):
    """Write a copy of a checkpoint to `path`, changed by a function of its hyperparameters and state dict."""
    stored = read_checkpoint(checkpoint)
    change(stored["hyper_parameters"], stored["state_dict"])
    save_checkpoint({key: stored[key] for key in ("hyper_parameters", "state_dict")}, path)
    return path


def task_of(run):
    stored = read_checkpoint(run[0] / "best.ckpt")
    task = SegmentationTask(**stored["hyper_parameters"])
    task.load_state_dict(stored["state_dict"])
    return task


def images(num_batches=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (4, 3, 48, 40), generator=generator, dtype=torch.uint8) for _ in range(num_batches)]


def test_weights_are_the_mean_and_counters_those_of_the_first(run, tmp_path):
    def triple(_, state):
        state.update({name: 3 * value for name, value in state.items()})

    first = run[0] / "best.ckpt"
    _, state = averaged([first, changed(first, tmp_path / "b.ckpt", triple)])
    for name, value in read_checkpoint(first)["state_dict"].items():
        expected = 2 * value if value.is_floating_point() else value
        torch.testing.assert_close(state[name], expected, rtol=1e-7, atol=0)
        assert state[name].dtype == value.dtype


def test_the_average_of_equal_checkpoints_is_that_checkpoint(run):
    first = run[0] / "best.ckpt"
    _, state = averaged([first] * 3)
    assert all(torch.equal(value, state[name]) for name, value in read_checkpoint(first)["state_dict"].items())


def test_other_models_and_other_classes_are_refused(run, tmp_path):
    first = run[0] / "best.ckpt"
    narrower = changed(
        first, tmp_path / "a.ckpt", lambda options, _: options["model"]["decoder"].update(aspp_channels=4)
    )
    with pytest.raises(CheckpointError, match=r"a.ckpt: model.decoder differs from that of .*best.ckpt: only"):
        averaged([first, narrower])
    renamed = changed(first, tmp_path / "b.ckpt", lambda options, _: options["classes"]["names"].reverse())
    with pytest.raises(CheckpointError, match=r"b.ckpt: classes.names differs"):
        averaged([first, renamed])


def test_the_statistics_equal_those_of_torch_s_update_bn(run):
    ours, reference = task_of(run), task_of(run).model
    assert reestimate_norms(ours, images()) == 12
    for layer in reference.modules():
        if isinstance(layer, torch.nn.modules.dropout._DropoutNd):
            layer.p = 0.0  # update_bn leaves dropout active
    update_bn(DataLoader(images(), batch_size=None), reference)
    expected = reference.state_dict()
    for name, value in ours.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert not any(layer.training for layer in ours.modules())


def test_frozen_norms_keep_their_statistics(run):
    task = task_of(run)
    task.norm_eval = True
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    reestimate_norms(task, images(1))
    moved = {
        name.split(".")[0] for name, value in task.model.state_dict().items() if not torch.equal(before[name], value)
    }
    assert moved == {"decoder"}


def test_an_average_is_written_with_its_scores(run, tmp_path, caplog):
    folder = tmp_path / "average"
    folder.mkdir()
    first = run[0] / "best.ckpt"
    other = changed(
        first, tmp_path / "other.ckpt", lambda _, state: state["model.decoder.classifier.bias"][-1].add_(1e4)
    )
    config = AverageConfig(dataset=SHAPES, num_images=9, data=LoaderConfig(num_workers=0), trainer=CPU)
    made = average(config, [first, other], folder)
    assert made.num_images == 12  # whole batches
    again = evaluate(made.path, dataset=SHAPES, split="val", data=config.data, trainer=CPU)
    assert again.scores.miou == made.results.scores.miou
    stored = json.loads((folder / "results.json").read_text())
    assert stored["averaged"] == {str(one.checkpoint): one.scores.miou for one in made.inputs}
    assert f"the average is worse than {first}" in caplog.text


def test_one_checkpoint_and_too_few_images_are_refused(run, tmp_path):
    first = run[0] / "best.ckpt"
    with pytest.raises(ConfigError, match=r"best.ckpt is one checkpoint: name two or more"):
        average(AverageConfig(dataset=SHAPES), [first], tmp_path)
    with pytest.raises(ConfigError, match="num_images=1 must be 2 or more"):
        average(AverageConfig(dataset=SHAPES, num_images=1), [first, first], tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_thresholds_of_an_average_are_chosen_on_val(several, tmp_path):
    first = several[0] / "best.ckpt"
    other = changed(first, tmp_path / "other.ckpt", lambda options, _: options["classes"].update(thresholds=[0.9, 0.1]))
    config = AverageConfig(dataset=OVERLAPPING, split="train", data=LoaderConfig(num_workers=0), trainer=CPU)
    folder = tmp_path / "average"
    folder.mkdir()
    made = average(config, [first, other], folder)
    thresholds = made.results.classes.thresholds
    on_val = evaluate(made.path, dataset=OVERLAPPING, split="val", data=config.data, trainer=CPU)
    assert thresholds == on_val.classes.thresholds == on_val.best_thresholds
    assert on_val.scores.miou >= on_val.at_half.miou
    assert json.loads((folder / "results.json").read_text())["thresholds"] == dict(
        zip(("disk", "ring"), thresholds, strict=True)
    )
