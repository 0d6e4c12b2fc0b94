"""Feature shapes of the contract of backbones."""

SIZES = [(1, 1), (33, 97), (64, 50)]


def shapes_of_contract(model, size):
    return [
        (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        for channels, stride in zip(model.channels, model.strides, strict=True)
    ]
