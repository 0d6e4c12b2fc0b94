"""Each file that the fuzzer damages is one that its reader reads."""

import fuzz_readers
import fuzz_verbs
import numpy as np
import pytest
from small_datasets import LAYOUTS

from segnet.errors import SegnetError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_file_that_is_damaged_is_read(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz_verbs, "LAYOUTS", {layout: LAYOUTS[layout]})
    found = list(fuzz_readers.annotations(tmp_path, np.random.default_rng))
    if not found:
        pytest.skip(f"{LAYOUTS[layout][1]} is an optional package, and not installed")
    [(path, read, targets)] = found
    expected = read(path)
    for target in targets:
        content = target.read_bytes()
        target.write_bytes(b"\0")
        with pytest.raises(SegnetError):
            read(path)
        target.write_bytes(content)
    assert read(path) == expected
