"""A checkpoint or an exported model applied to one image: runtimes, test-time augmentation, sliding windows."""
