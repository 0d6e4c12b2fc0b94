"""docs/search_optuna.py with a fake Optuna, which is optional."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny import SHAPES

SCRIPT = Path(__file__).resolve().parents[1] / "docs" / "search_optuna.py"


class Trial:
    def __init__(self, number):
        self.number, self.params = number, {}

    def suggest_float(self, name, low, high, log):
        assert log
        self.params[name] = low if self.number % 2 else high
        return self.params[name]

    def suggest_categorical(self, name, choices):
        self.params[name] = choices[self.number]
        return self.params[name]


class Study:
    def __init__(self):
        self.told = []

    def ask(self):
        return Trial(len(self.told))

    def tell(self, trial, value=None, state=None):
        self.told.append((trial.params, value, state))


@pytest.fixture
def script(monkeypatch):
    """The script as a module, and the options of its study."""
    created = {}
    stand_in = SimpleNamespace(
        Trial=Trial,
        Study=Study,
        trial=SimpleNamespace(TrialState=SimpleNamespace(FAIL="fail")),
        create_study=lambda **options: created.update(options) or Study(),
    )
    monkeypatch.setitem(sys.modules, "optuna", stand_in)
    spec = importlib.util.spec_from_file_location("search_optuna", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, created


def options(*more: str) -> list[str]:
    return [
        *[f"dataset.{name}={SHAPES[name]}" for name in ("num_train", "num_val")],
        *["trainer.max_steps=1", "trainer.accelerator=cpu", "data.num_workers=0", "data.batch_size=4", *more],
    ]


def test_each_trial_trains_its_options_and_reports_its_miou(script, tmp_path):
    module, created = script
    study = module.search(2, options(), tmp_path / "search")
    assert created["direction"] == "maximize"
    assert [chosen["loss"] for chosen, _, _ in study.told] == ["cross_entropy", "ohem"]
    for number, (_, value, state) in enumerate(study.told):
        assert 0 <= value <= 1
        assert state is None
        assert (tmp_path / "search" / str(number) / "best.ckpt").exists()


def test_a_failed_training_is_reported_and_the_search_continues(script, tmp_path, capsys):
    module, _ = script
    study = module.search(2, options("data.batch_size=17"), tmp_path)
    assert [(value, state) for _, value, state in study.told] == [(None, "fail")] * 2
    assert "trial 0 failed: the train split has 16 images" in capsys.readouterr().err
