"""The end of one process ends all, and what two processes cannot do is refused in one line."""

import pytest
from two_processes import ONE_EACH, TWO, assert_nobody_left, free_port, segnet, srun, torchrun

pytestmark = pytest.mark.slow
FAILING = """
import os, sys
from segnet.errors import DataError
from segnet.training.task import SegmentationTask
original = SegmentationTask.training_step
def training_step(self, batch, batch_idx):
    if self.trainer.global_rank == int(os.environ["FAILING"]) and self.trainer.global_step == 2:
        if os.environ["HOW"] == "kill":
            os.kill(os.getpid(), 9)
        raise DataError("b.png: is damaged")
    return original(self, batch, batch_idx)
SegmentationTask.training_step = training_step
from segnet.cli import main
main()
"""


@pytest.mark.parametrize("how", ["error", "kill"])
@pytest.mark.parametrize("rank", [0, 1])
def test_the_end_of_one_process_ends_both(tmp_path, rank, how):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    process = segnet(["train", *TWO], tmp_path, str(script), environment={"FAILING": str(rank), "HOW": how}, wait=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    if how == "error":
        assert "segnet: error: b.png: is damaged" in output
    assert_nobody_left(process, output)


@pytest.mark.parametrize("how", ["error", "kill"])
def test_the_end_of_one_process_ends_all_under_slurm_and_torchrun(tmp_path, how):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    failing = {"FAILING": "1", "HOW": how}
    tasks = srun(tmp_path, ONE_EACH, 2, str(script), "train", environment=failing)
    outputs = [task.communicate(timeout=120)[0] for task in tasks]
    assert all(task.returncode != 0 for task in tasks), outputs
    assert "another process of this run ended" in outputs[0]
    assert (tasks[1].returncode, "b.png: is damaged" in outputs[1]) == ((3, True) if how == "error" else (-9, False))
    launcher = torchrun(free_port(), "--nproc-per-node=2")
    process = segnet(["train", *TWO], tmp_path, *launcher, str(script), environment=failing, wait=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert_nobody_left(process, output)


def test_fewer_val_images_than_processes_are_refused(tmp_path):
    code, output = segnet([*TWO, "dataset.num_val=1"], tmp_path)
    assert code == 3
    assert "the val split has 1 image, fewer than the 2 processes" in output


@pytest.mark.parametrize("launcher", ["segnet", "torchrun"])
@pytest.mark.parametrize("option", ["trainer.sync_batchnorm=true", "norm.name=sync_batch"])
def test_sync_batch_norm_on_two_cpus_ends_in_one_line(tmp_path, launcher, option):
    """torch synchronizes batch norms on GPUs only: no process may get as far as its error."""
    command = torchrun(free_port(), "--nproc-per-node=2") if launcher == "torchrun" else ()
    arguments = ["-m", "segnet", "train"] if launcher == "torchrun" else []
    code, output = segnet([*arguments, *TWO, option], tmp_path, *command)
    assert "synchronized batch norm in several processes needs GPUs: use norm.name=group" in output
    assert "segnet/" not in output  # no stack trace with a line of ours; torchrun reports a failure with its own
    assert list(tmp_path.rglob("*.ckpt")) == []
    if launcher == "segnet":
        assert code == 2


def test_a_sweep_over_two_processes_is_refused(tmp_path):
    code, output = segnet([*TWO, "--multirun", "seed=1,2"], tmp_path)
    assert code == 2
    assert "leave out --multirun" in output
