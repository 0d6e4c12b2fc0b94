"""TIFF decoding for every storage layout."""
