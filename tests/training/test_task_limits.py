"""Options that need one class per pixel, and the task of a resumed run."""

from pathlib import Path

import pytest

from segnet.classes import Classes
from segnet.config import Config
from segnet.errors import CheckpointError, ConfigError
from segnet.training.task_limits import require_fitting_task

ONE, SEVERAL = Classes.create(["a", "b"]), Classes.create(["a", "b"], task="multilabel")


@pytest.mark.parametrize("option", [{"teacher": "big.ckpt"}, {"unlabeled": ["photos"]}, {"boundary": 0.02}])
def test_options_of_one_class_per_pixel_are_named(option):
    config = Config(**option)
    require_fitting_task(config, ONE, None, None)
    with pytest.raises(ConfigError, match=rf"^{next(iter(option))}=.* needs one class per pixel"):
        require_fitting_task(config, SEVERAL, None, None)


def test_a_run_resumes_with_its_own_task():
    def stored(classes: Classes) -> dict:
        return {"hyper_parameters": {"classes": classes.to_dict()}}

    path = Path("last.ckpt")
    for classes in (ONE, SEVERAL):
        require_fitting_task(Config(), classes, stored(classes), path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is a run of task=multiclass"):
        require_fitting_task(Config(), SEVERAL, stored(ONE), path)
    with pytest.raises(CheckpointError, match=r"last\.ckpt: is a run of task=multilabel"):
        require_fitting_task(Config(), ONE, stored(SEVERAL), path)
