"""The segmentation model (normalization, backbone, decoder) and its checkpoints."""
