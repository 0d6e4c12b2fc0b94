"""The time to a first mask: the file that stands for the published model has its form, and the table its numbers."""

import numpy as np
import pytest
from first_mask import table, write_published
from limited_processes import Ended

from segnet.class_sets import CLASS_SETS
from segnet.published.convert import published_settings
from segnet.weights.load import read_weights


def test_the_file_has_the_form_of_the_published_model(tmp_path):
    write_published(tmp_path / "model.pdparams")
    settings = published_settings(read_weights(str(tmp_path / "model.pdparams")))
    assert settings.output_stride == 8
    number = sum(np.prod(value.shape) for value in read_weights(str(tmp_path / "model.pdparams")).state.values())
    assert number == pytest.approx(26.7e6, rel=0.01)
    assert len(CLASS_SETS["cityscapes"].names) == 19


def test_the_table_has_median_range_and_peak():
    rows = {"a": [Ended(0, 3.0, 512, "", 0.5), Ended(0, 1.0, 1024, "", 0.7), Ended(0, 2.0, 256, "", 0.9)]}
    assert table(rows)[2:] == ["| a | 2.0 (1.0 to 3.0) | 0.7 (0.5 to 0.9) | 1.0 |"]
