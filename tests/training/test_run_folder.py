"""Run folders: which checkpoint a run resumes from, and who may write where."""

import logging
import os
from dataclasses import asdict, replace

import pytest
import yaml
from tiny import components

from segnet.config import Config, DataConfig, OptimConfig
from segnet.errors import CheckpointError
from segnet.models.checkpoint import save_checkpoint
from segnet.training.run_folder import chosen_checkpoint, differences, remove_torn_files, run_folder

CONFIG = Config(trainer={"max_epochs": 3}, dataset={"name": "shapes"}, optim=OptimConfig(lr=0.1))
MODEL = {**components(), "num_classes": 1, "mean": [0.5] * 3, "std": [0.5] * 3}
CLASSES = {"names": ["a"], "palette": [[0, 0, 0]], "ignore_index": 255}
HYPER = {"hyper_parameters": {"model": MODEL, "classes": CLASSES}, "state_dict": {}}
RESUMABLE = {**HYPER, "optimizer_states": [], "lr_schedulers": [], "loops": {}}


def run(parent, name, age, config=CONFIG, content=RESUMABLE):
    """A run folder whose checkpoint was written `age` seconds ago."""
    folder = parent / name
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    path = folder / "last.ckpt"
    save_checkpoint(content, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_auto_takes_the_newest_of_the_same_configuration(tmp_path):
    run(tmp_path, "a", 30)
    newest = run(tmp_path, "b", 20)
    run(tmp_path, "c", 10, replace(CONFIG, seed=1))
    assert chosen_checkpoint(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == newest


def test_auto_without_any_begins_anew(tmp_path, caplog):
    caplog.set_level(logging.INFO, "segnet")
    assert chosen_checkpoint(replace(CONFIG, checkpoint="auto"), tmp_path / "new") is None
    assert "a new run" in caplog.text


@pytest.mark.parametrize("torn", [b"", b"PK\x03\x04 torn", None])
def test_auto_passes_over_a_torn_file_with_a_warning(torn, tmp_path, caplog):
    good, bad = run(tmp_path, "a", 30), run(tmp_path, "b", 20)
    bad.write_bytes(bad.read_bytes()[:-40] if torn is None else torn)
    assert chosen_checkpoint(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == good
    assert str(bad) in caplog.text


def test_auto_falls_back_on_the_best_of_the_same_run(tmp_path):
    last = run(tmp_path, "a", 10)
    best = last.with_name("best.ckpt")
    save_checkpoint(RESUMABLE, best)
    os.utime(best, (1e9 - 20, 1e9 - 20))
    last.write_bytes(b"")
    assert chosen_checkpoint(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == best


def test_auto_passes_over_a_run_that_is_at_work(tmp_path, held, caplog):
    older, newer = run(tmp_path, "a", 30), run(tmp_path, "b", 20)
    held(newer.parent)
    assert chosen_checkpoint(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == older
    assert "another run is at work" in caplog.text


def test_a_model_without_its_training_is_refused_with_the_way_out(tmp_path):
    path = run(tmp_path, "a", 0, content=HYPER)
    with pytest.raises(CheckpointError, match=f"init_from={path}"):
        chosen_checkpoint(replace(CONFIG, checkpoint=str(path)), tmp_path / "new")


def test_other_options_are_told(tmp_path, caplog):
    path = run(tmp_path, "a", 0)
    config = replace(CONFIG, checkpoint=str(path), optim=OptimConfig(lr=0.2))
    assert chosen_checkpoint(config, tmp_path / "new") == path
    assert "optim.lr=0.2 (was 0.1)" in caplog.text


def test_a_run_stays_in_its_folder_and_a_stray_checkpoint_begins_one(tmp_path):
    path = run(tmp_path, "a", 0)
    assert run_folder(path, tmp_path / "new") == tmp_path / "a"
    (tmp_path / "a" / "config.yaml").unlink()
    assert run_folder(path, tmp_path / "new") == tmp_path / "new"
    assert run_folder(None, tmp_path / "new") == tmp_path / "new"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (CONFIG, []),
        (replace(CONFIG, data=DataConfig(num_workers=3, timeout=1.0, check=False)), []),
        (replace(CONFIG, checkpoint="auto", checkpoint_every=7), []),
        (replace(CONFIG, data=DataConfig(batch_size=9)), ["data.batch_size=9 (was 8)"]),
        (replace(CONFIG, trainer={"max_epochs": 4}), ["trainer.max_epochs=4 (was 3)"]),
        (replace(CONFIG, trainer={}), ["trainer.max_epochs=None (was 3)"]),
        (replace(CONFIG, trainer={"max_epochs": 3, "precision": 16}), ["trainer.precision=16 (was None)"]),
        (replace(CONFIG, dataset={"name": "folder"}), ["dataset.name=folder (was shapes)"]),
    ],
)
def test_only_options_that_change_the_outcome_count(config, expected):
    assert differences(yaml.safe_load(yaml.safe_dump(asdict(CONFIG))), config) == expected


def test_a_configuration_from_before_an_option_has_its_default():
    stored = asdict(CONFIG)
    del stored["deterministic"], stored["data"]["flip"]
    assert differences(stored, CONFIG) == []
    assert differences(stored, replace(CONFIG, deterministic=True)) == ["deterministic=True (was False)"]


def test_the_decided_normalization_is_the_run_s_own():
    stored = asdict(replace(CONFIG, mean=[0.5] * 3, std=[0.5] * 3))
    assert differences(stored, CONFIG) == []
    assert len(differences(stored, replace(CONFIG, mean=[0.4] * 3))) == 1


def test_what_a_killed_run_was_writing_is_removed(tmp_path):
    for name in (".last.ckpt.x8d_2.tmp", ".config.yaml.abc.tmp", "last.ckpt", "notes.tmp"):
        (tmp_path / name).touch()
    remove_torn_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "notes.tmp"}


def test_auto_goes_by_the_step_in_the_checkpoint_not_by_the_time_of_the_file(tmp_path):
    far = run(tmp_path, "a", 30, content={**RESUMABLE, "global_step": 9})
    run(tmp_path, "b", 10, content={**RESUMABLE, "global_step": 4})
    assert chosen_checkpoint(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == far
