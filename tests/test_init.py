"""What `import segnet` gives, and what it does not wait for."""

import subprocess
import sys

import pytest

import segnet
from segnet.inference.predictor import Predictor
from segnet.inference.segmentation import Segmentation


def test_what_predicts_is_imported_when_it_is_asked_for():
    code = "import sys, segnet; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; segnet.Predictor"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (segnet.Predictor, segnet.Segmentation) == (Predictor, Segmentation)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        segnet.Trainer  # noqa: B018
