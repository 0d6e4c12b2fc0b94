"""Inference with a checkpoint or exported model: runtimes, test-time augmentation, sliding windows."""
