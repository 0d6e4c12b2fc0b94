"""Image files and arrays: decoding, bands, GeoTIFF, video, sliding windows, drawing."""
