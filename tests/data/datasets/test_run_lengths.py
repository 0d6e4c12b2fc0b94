"""COCO's run lengths are decoded as by pycocotools, with checks."""

import numpy as np
import pytest

from segnet.data.datasets.json_records import Record
from segnet.data.datasets.run_lengths import decode_runs

mask_api = pytest.importorskip("pycocotools.mask", reason="pycocotools is an optional package, and not installed")


@pytest.mark.parametrize("seed", range(30))
def test_compressed_and_plain_runs_match_pycocotools(seed):
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 300)), int(rng.integers(1, 300)))
    area = rng.random(size) < rng.choice([0.0, 0.01, 0.5, 0.999, 1.0])
    if seed % 3 == 0:
        area = np.repeat(area[:, :1], size[1], axis=1)  # long runs with negative differences
    compressed = mask_api.encode(np.asfortranarray(area.astype(np.uint8)))
    runs = {"size": list(size), "counts": compressed["counts"].decode()}
    np.testing.assert_array_equal(decode_runs(Record(runs, "a.json"), size, "a"), area)
    flat = area.T.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=not flat[-1]))
    counts = np.diff(edges, prepend=0).tolist()
    np.testing.assert_array_equal(decode_runs(Record(runs | {"counts": counts}, "a.json"), size, "a"), area)
    as_text = [str(count) for count in counts]
    np.testing.assert_array_equal(decode_runs(Record(runs | {"counts": as_text}, "a.json"), size, "a"), area)
