"""Dataset readers, one layout a file, and what they share. `segnet.data.DATASETS` is their table."""
