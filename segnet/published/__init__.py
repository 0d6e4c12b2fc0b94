"""Trained models that other projects publish: their conversion to checkpoints, and download by name."""
