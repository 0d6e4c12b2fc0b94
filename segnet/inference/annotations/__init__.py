"""Predictions in the formats of annotation tools and maps: one format a file."""
