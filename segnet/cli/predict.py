"""`segnet predict`: images, videos, scenes in; masks, overlays and more out, with nothing but a checkpoint."""

from collections.abc import Sequence

from segnet.cli.predict_options import parse


def main(arguments: Sequence[str]) -> int:
    """Segments what the arguments name; exit code 0 when all went well, 6 when some did, 3 when none did."""
    options = parse(arguments)
    from segnet.cli.predict_work import predict  # imports torch: --help and wrong options need not wait for it

    return predict(options)
