"""Dataset readers, one layout per file, and their shared modules. `segnet.data.DATASETS` is their table."""
