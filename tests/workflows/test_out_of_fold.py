"""Names and files of out-of-fold predictions."""

import numpy as np
import pytest

from segnet.errors import CheckpointError, DataError
from segnet.workflows.out_of_fold import out_of_fold_names, read_probabilities, write_probabilities


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["/d/a.png", "/d/b.jpg"], ["a", "b"]),
        (["/d/train/a.png", "/d/val/a.png"], ["train/a", "val/a"]),
        (["/d/a.png", "/d/a.jpg", "/d/A.png", "/d/a_2.png"], ["a", "a_2", "A_3", "a_2_2"]),
        (["000000", "000001"], ["000000", "000001"]),
        (["s3://bucket/shard.tar a/b.png", "x"], ["s3_bucket_shard.tar_a_b", "x"]),
        (["/d/only.one.png"], ["only.one"]),
    ],
)
def test_results_are_named_like_their_images(sources, names):
    assert out_of_fold_names(sources) == names


def test_probabilities_are_stored_in_eight_bits(tmp_path):
    values = np.random.default_rng(0).dirichlet(np.ones(5), (6, 7)).transpose(2, 0, 1).astype(np.float16)
    write_probabilities(tmp_path / "sub" / "a.npz", values, list("abcde"))
    assert np.abs(read_probabilities(tmp_path / "sub" / "a.npz") - values).max() <= 0.5 / 255 + 1e-3
    assert list(np.load(tmp_path / "sub" / "a.npz")["classes"]) == list("abcde")


def test_missing_and_damaged_probabilities_are_reported(tmp_path):
    with pytest.raises(DataError, match=r"a\.npz: no such file: crossval writes it with save_probabilities=true"):
        read_probabilities(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"a\.npz: is damaged"):
        read_probabilities(tmp_path / "a.npz")
