"""Augmentation: crops, turns, albumentations transforms, CutMix."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise importing it asks the network for a newer version
