"""Options of a tiny training for tests of the public API, as keywords and as words of the command line."""

import csv
import subprocess

import torch
import yaml
from warm_python import WARM_PYTHON

from segnet.models.checkpoint import read_checkpoint

OPTIONS = {
    "backbone.depths": [1, 1, 1, 1],
    "backbone.base_channels": 16,
    "backbone.stem_channels": 16,
    "decoder.aspp_channels": 8,
    "decoder.decoder_channels": 8,
    "decoder.low_level_channels": 4,
    "dataset.num_train": 16,
    "dataset.num_val": 5,
    "dataset.size": [48, 40],
    "data.crop_size": [32, 32],
    "data.batch_size": 4,
    "data.num_workers": 0,
    "trainer.accelerator": "cpu",
    "trainer.max_epochs": 2,
    "trainer.log_every_n_steps": 2,
}
WORDS = [f"{name}={str(value).replace(' ', '')}" for name, value in OPTIONS.items()]
KEYWORDS = {name.replace(".", "__"): value for name, value in OPTIONS.items()}


def command_line(*arguments):
    subprocess.run([*WARM_PYTHON, "-m", "segnet", *arguments], check=True, capture_output=True)


def metrics(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(folder, expected):
    first, second = (read_checkpoint(each / "best.ckpt")["state_dict"] for each in (folder, expected))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert metrics(folder) == metrics(expected)
    stored = [yaml.safe_load((each / "config.yaml").read_text()) for each in (folder, expected)]
    assert stored[0] == stored[1]
    assert {path.name for path in folder.iterdir()} == {path.name for path in expected.iterdir()}
