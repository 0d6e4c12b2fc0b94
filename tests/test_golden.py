"""Losses match the golden ones, see tests/golden.py."""

import json

import numpy as np
import pytest
from golden import FOLDER, NUM_STEPS, SPECS, measure

# Relative. Measured on one processor with the instructions of others (ONEDNN_MAX_CPU_ISA=AVX2 and SSE41,
# ATEN_CPU_CAPABILITY=avx2 and default, one and two threads), rounding changes the first two losses by at most 2e-6, and
# later ones by at most 2.2e-4. A learning rate that is 5 % higher changes them by 6e-4, a momentum of 0.85 by 2e-3,
# a label smoothing of 0.01 by 3e-2.
FIRST, LATER = 1e-5, 5e-4


@pytest.mark.parametrize("name", SPECS)
def test_losses_match_the_golden_ones(name):
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    losses = measure(name)
    assert {column: len(values) for column, values in losses.items()} == {"train/loss": NUM_STEPS, "val/loss": 2}
    np.testing.assert_allclose(losses["train/loss"][:2], stored["train/loss"][:2], rtol=FIRST)
    for column, values in losses.items():
        np.testing.assert_allclose(values, stored[column], rtol=LATER, err_msg=column)


def test_every_stored_run_is_compared():
    assert {path.stem for path in FOLDER.iterdir()} == set(SPECS)
