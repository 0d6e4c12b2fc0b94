"""Pretrained weights: download, file formats, and the naming schemes of other projects."""
