"""The probe of a time budget measures loading too."""

import itertools

import pytest
from tiny import configuration

from segnet.config import DataConfig
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.datasets.shapes import Shapes
from segnet.errors import DataError
from segnet.workflows.probe import NUM_LOADED, loading_time


@pytest.fixture
def clock():
    return Clock()


class Clock:
    """A clock that only loading moves."""

    time = 0.0

    def __call__(self):
        return self.time


def loading(clock, **data):
    config = configuration(data=DataConfig(batch_size=4, crop_size=[32, 32], num_workers=0, **data))
    return loading_time(config, SegmentationDataModule(config.dataset, config.data, [0.5] * 3, 0), clock)


def slow(monkeypatch, clock, durations):
    """Let reading an image take these times [s]."""
    original, durations = Shapes.load, itertools.chain(durations, itertools.repeat(0.0))

    def load(self, index):
        clock.time += next(durations)
        return original(self, index)

    monkeypatch.setattr(Shapes, "load", load)


def test_the_first_image_does_not_count(monkeypatch, clock):
    slow(monkeypatch, clock, [9.0] + (NUM_LOADED - 1) * [0.2])
    assert loading(clock) == pytest.approx(0.2)


def test_with_a_cache_the_second_reading_counts(monkeypatch, clock):
    slow(monkeypatch, clock, NUM_LOADED * [0.2])
    assert loading(clock, cache="memory") == 0


def test_a_damaged_image_is_left_to_the_check_of_all_files(monkeypatch, clock):
    def load(self, index):
        raise DataError("damaged")

    monkeypatch.setattr(Shapes, "load", load)
    assert loading(clock) == 0
