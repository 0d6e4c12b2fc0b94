"""segnet: semantic segmentation for people who have images and masks."""

__version__ = "0.1.0"
