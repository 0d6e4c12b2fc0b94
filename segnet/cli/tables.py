"""Tables for the terminal."""

from rich.console import Console
from rich.table import Table

from segnet.evaluation import Results
from segnet.metrics import DEFINITION


def print_scores(results: Results) -> None:
    """Prints the figures of each class and their means; "n/a" stands for 0 / 0."""
    scores, classes = results.scores, results.classes
    table = Table(title=f"{results.split}: {results.num_images} images, {results.checkpoint.name}")
    for column in ("class", "IoU", "accuracy", "precision", "pixels"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for row in zip(classes.names, scores.iou, scores.accuracy, scores.precision, scores.pixels, strict=True):
        name, *ratios, pixels = row
        table.add_row(name, *(percent(ratio) for ratio in ratios), f"{pixels:,}")
    Console().print(table)
    print(f"mIoU {number(scores.miou)} over {scores.num_averaged} of {len(classes.names)} classes ({DEFINITION})")
    print(f"pixel accuracy {number(scores.pixel_accuracy)}")


def percent(ratio: float) -> str:
    """A ratio as a percentage, NaN as "n/a"."""
    return "n/a" if ratio != ratio else f"{100 * ratio:.2f}"


def number(ratio: float) -> str:
    """A ratio with all digits that matter, NaN as "n/a"."""
    return "n/a" if ratio != ratio else f"{ratio:.6f}"
