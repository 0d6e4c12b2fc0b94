"""`segnet predict`: masks, overlays and other results of images, videos and scenes, from a checkpoint."""

from collections.abc import Sequence

from segnet.cli.predict_options import parse


def main(arguments: Sequence[str]) -> int:
    """Segment the inputs; return exit code 0 if all succeeded, 6 if some failed, 3 if all failed."""
    options = parse(arguments)
    from segnet.cli.predict_work import predict  # late: imports torch, and --help stays fast

    return predict(options)
