"""Run folders: the checkpoint to resume from, changed options and cleanup."""

import logging
import os
from dataclasses import asdict, replace

import pytest
import yaml
from tiny import components

from segnet.config import Config, DataConfig, OptimConfig
from segnet.data.augment.presets import complete_augment
from segnet.errors import CheckpointError
from segnet.models.checkpoint import save_checkpoint
from segnet.training import run_folder as module
from segnet.training.run_data import RunData
from segnet.training.run_folder import differences, remove_temporary_files, run_folder

CONFIG = Config(trainer={"max_epochs": 3}, dataset={"name": "shapes"}, optim=OptimConfig(lr=0.1))
MODEL = {**components(), "num_classes": 1, "mean": [0.5] * 3, "std": [0.5] * 3}
CLASSES = {"names": ["a"], "palette": [[0, 0, 0]], "ignore_index": 255}
HYPER = {"hyper_parameters": {"model": MODEL, "classes": CLASSES}, "state_dict": {}}
RESUMABLE = {**HYPER, "optimizer_states": [], "lr_schedulers": [], "loops": {}}


def checkpoint_to_resume(config, output_dir):
    return module.checkpoint_to_resume(config, output_dir, RunData(config.dataset))


def run(parent, name, age, config=CONFIG, content=RESUMABLE):
    """Create a run folder with a checkpoint written `age` seconds ago; return its path."""
    folder = parent / name
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    path = folder / "last.ckpt"
    save_checkpoint(content, path)
    os.utime(path, (1e9 - age, 1e9 - age))
    return path


def test_auto_resumes_the_newest_run_of_the_same_configuration(tmp_path):
    run(tmp_path, "a", 30)
    newest = run(tmp_path, "b", 20)
    run(tmp_path, "c", 10, replace(CONFIG, seed=1))
    assert checkpoint_to_resume(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == newest


def test_auto_without_a_checkpoint_starts_a_new_run(tmp_path, caplog):
    caplog.set_level(logging.INFO, "segnet")
    assert checkpoint_to_resume(replace(CONFIG, checkpoint="auto"), tmp_path / "new") is None
    assert "starting a new run" in caplog.text


@pytest.mark.parametrize("torn", [b"", b"PK\x03\x04 torn", None])
def test_auto_skips_a_truncated_checkpoint_with_a_warning(torn, tmp_path, caplog):
    good, bad = run(tmp_path, "a", 30), run(tmp_path, "b", 20)
    bad.write_bytes(bad.read_bytes()[:-40] if torn is None else torn)
    assert checkpoint_to_resume(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == good
    assert str(bad) in caplog.text


def test_auto_falls_back_to_best_ckpt_of_the_same_run(tmp_path):
    last = run(tmp_path, "a", 10)
    best = last.with_name("best.ckpt")
    save_checkpoint(RESUMABLE, best)
    os.utime(best, (1e9 - 20, 1e9 - 20))
    last.write_bytes(b"")
    assert checkpoint_to_resume(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == best


def test_auto_skips_a_running_run(tmp_path, held, caplog):
    older, newer = run(tmp_path, "a", 30), run(tmp_path, "b", 20)
    held(newer.parent)
    assert checkpoint_to_resume(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == older
    assert "another run uses that folder" in caplog.text


def test_a_checkpoint_without_training_state_suggests_init_from(tmp_path):
    path = run(tmp_path, "a", 0, content=HYPER)
    with pytest.raises(CheckpointError, match=f"init_from={path}"):
        checkpoint_to_resume(replace(CONFIG, checkpoint=str(path)), tmp_path / "new")


def test_changed_options_are_logged(tmp_path, caplog):
    path = run(tmp_path, "a", 0)
    config = replace(CONFIG, checkpoint=str(path), optim=OptimConfig(lr=0.2))
    assert checkpoint_to_resume(config, tmp_path / "new") == path
    assert "optim.lr=0.2 (was 0.1)" in caplog.text


def test_a_resumed_run_keeps_its_folder_unless_the_checkpoint_was_moved(tmp_path):
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
        (replace(CONFIG, data=DataConfig(batch_size=9)), ["data.batch_size=9 (was None)"]),
        (replace(CONFIG, trainer={"max_epochs": 4}), ["trainer.max_epochs=4 (was 3)"]),
        (replace(CONFIG, trainer={}), ["trainer.max_epochs=None (was 3)"]),
        (replace(CONFIG, trainer={"max_epochs": 3, "precision": 16}), ["trainer.precision=16 (was None)"]),
        (replace(CONFIG, dataset={"name": "folder"}), ["dataset.name=folder (was shapes)"]),
    ],
)
def test_differences_list_only_options_that_affect_results(config, expected):
    assert differences(yaml.safe_load(yaml.safe_dump(asdict(CONFIG))), config) == expected


def test_options_missing_from_an_old_config_have_their_defaults():
    stored = asdict(CONFIG)
    del stored["deterministic"], stored["data"]["flip"]
    assert differences(stored, CONFIG) == []
    assert differences(stored, replace(CONFIG, deterministic=True)) == ["deterministic=True (was False)"]


def test_a_null_flip_is_the_one_that_the_run_had_before_it_could_be_null():
    stored = asdict(replace(CONFIG, data=complete_augment(CONFIG.data)))
    assert stored["data"]["flip"] == 0.5
    assert differences(stored, CONFIG) == []
    assert differences(stored, replace(CONFIG, data=replace(CONFIG.data, flip=0.1))) == ["data.flip=0.1 (was 0.5)"]


def test_an_unset_mean_and_std_do_not_differ_from_the_run_s():
    stored = asdict(replace(CONFIG, mean=[0.5] * 3, std=[0.5] * 3))
    assert differences(stored, CONFIG) == []
    assert len(differences(stored, replace(CONFIG, mean=[0.4] * 3))) == 1


def test_temporary_files_of_a_killed_run_are_removed(tmp_path):
    for name in (".last.ckpt.x8d_2.tmp", ".config.yaml.abc.tmp", "last.ckpt", "notes.tmp"):
        (tmp_path / name).touch()
    remove_temporary_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "notes.tmp"}


def test_auto_prefers_the_most_steps_over_the_newest_file(tmp_path):
    far = run(tmp_path, "a", 30, content={**RESUMABLE, "global_step": 9})
    run(tmp_path, "b", 10, content={**RESUMABLE, "global_step": 4})
    assert checkpoint_to_resume(replace(CONFIG, checkpoint="auto"), tmp_path / "new") == far
