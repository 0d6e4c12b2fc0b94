"""Augmentation: crops, albumentations transforms, CutMix."""
