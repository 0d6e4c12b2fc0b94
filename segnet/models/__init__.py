"""The network: normalization, backbone, decoder, and the checkpoints that hold them."""
