"""Messages at the start and end of a run."""

import logging
import shlex
from dataclasses import replace

import pytest
from tiny import CPU, SHAPES, configuration

from segnet.cli.composition import composed
from segnet.config import Config, OptimConfig
from segnet.training.plan import Facts
from segnet.verb_config import InspectConfig
from segnet.workflows.messages import few_steps, never_predicted, next_commands
from segnet.workflows.train import train


def test_a_run_logs_data_model_machine_and_length_at_its_start(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        optim = OptimConfig(lr=0.05, layer_decay=0.5)
        train(configuration(trainer={**CPU, "max_epochs": 1}, worst_images=0, optim=optim), tmp_path)
    said = "\n".join(caplog.messages)
    assert "data: 16 train and 5 val images; 6 classes: background, disk, ring, square, triangle, cross" in said
    assert "model: resnet [1, 1, 1, 1], deeplabv3plus, output stride 16, " in said
    assert "; float32\n" in said
    assert "augmentation: scale 0.5-2, flip 0.5, color jitter 0.4\n" in said
    assert "length: 4 steps (1.0 epochs) of 4 crops of 32 x 32\n" in said
    rates = "learning rates: 0.05 in the decoder, 0.025 in the backbone down to 0.00156 in its first layers"
    assert rates in said
    assert "4 steps are few: without trainer.max_epochs and trainer.max_steps the run would take 4,000" in said


def test_few_steps_log_a_warning_for_either_length_option():
    facts = Facts(num_train=240, num_val=9, pretrained=True)
    data = configuration().data
    assert few_steps(Config(data=data, trainer={"max_epochs": 5}), facts).startswith("300 steps are few")
    assert few_steps(Config(data=data, trainer={"max_steps": 30}), facts).startswith("30 steps are few")
    assert few_steps(Config(data=data, trainer={"max_steps": 501}), facts) == ""


def test_a_class_that_is_never_predicted_is_named(run):
    _, results = run
    names = results.classes.names
    count = len(names)
    perfect = [[7 if row == column else 0 for column in range(count)] for row in range(count)]
    assert never_predicted(replace(results, confusion=perfect)) == ""
    lost = [[7, *[0] * (count - 1)] for _ in range(count)]
    text = never_predicted(replace(results, confusion=lost))
    assert text.startswith(f"{count - 1} classes are never predicted: {', '.join(names[1:])}: train longer")
    one = [list(row) for row in perfect]
    one[2][2], one[2][0] = 0, 7
    assert never_predicted(replace(results, confusion=one)).startswith(f"a class is never predicted: {names[2]}: ")
    absent = [list(row) for row in perfect]
    absent[2][2] = 0  # absent from the masks too
    assert never_predicted(replace(results, confusion=absent)) == ""


@pytest.mark.parametrize(
    "dataset",
    [SHAPES, {"name": "folder", "root": "my data/it's", "class_names": ["road", "a, b"], "id_map": {0: 1, "other": 0}}],
)
def test_the_next_commands_are_quoted_for_a_shell(dataset, tmp_path):
    line = next_commands(Config(dataset=dataset), tmp_path / "a b" / "best.ckpt")
    predict, evaluate, inspect = [shlex.split(part) for part in line.removeprefix("next: ").split("; ")]
    assert predict[:3] == ["segnet", "predict", "IMAGES"]
    assert evaluate[2] == predict[-1] == str(tmp_path / "a b" / "best.ckpt")
    assert composed("inspect", InspectConfig, inspect[2:]).dataset == dataset
