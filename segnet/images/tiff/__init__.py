"""TIFF files: layout by layout, so that a file gives the same values whichever way it stores them."""
