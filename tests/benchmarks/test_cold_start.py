"""The start from a process to a mask: the table's ratios, and the commands of another checkout."""

import pytest
from cold_start import CHECKOUT, PEER, main, predict, table
from limited_processes import Ended

from segnet.errors import ConfigError


def ended(seconds: float, cpu_seconds: float) -> Ended:
    return Ended(0, seconds, 0, "", cpu_seconds)


def test_times_are_compared_in_each_round_and_cpu_times_by_the_shortest():
    found = {
        PEER: [ended(4, 9), ended(8, 6), ended(12, 8)],
        "predict.py, torch": [ended(2, 3), ended(2, 4), ended(4, 5)],
        "not run": [],
    }
    peer, ours = (" ".join(line.split()) for line in table(found))
    assert peer == f"{PEER} 8.00 s 1.00x CPU time 6.00 s 1.00x"
    assert ours == "predict.py, torch 2.00 s 3.00x CPU time 3.00 s 2.00x"


def test_a_checkout_runs_its_own_program(tmp_path):
    assert predict(tmp_path, "a.ckpt")[1:3] == [str(tmp_path / "predict.py"), "img.png"]
    assert (CHECKOUT / "predict.py").is_file()


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=f"--before {tmp_path}: no checkout of segnet"):
        main(["--peer", "python", "--before", str(tmp_path)])
