"""Where the inputs of ../shared/cases are, and what a report says of them."""

from pathlib import Path

from segnet.data.scan.report import DatasetReport

CASES = Path(__file__).resolve().parents[1].parent / "shared" / "cases"


def pixels(report: DatasetReport, split: str) -> dict[str, int]:
    """Return class -> number of pixels, for classes with pixels."""
    found = next(part for part in report.splits if part.split == split)
    return {name: found.pixels[label] for label, name in enumerate(found.classes.names) if found.pixels[label]}


def num_images(report: DatasetReport) -> list[int]:
    return [len(part.readable) for part in report.splits]


LOAD_COCO = """
import sys
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.errors import SegnetError
try:
    dataset = COCOInstances("train", {root!r})
    print(*(int((dataset.load(index).mask == 1).sum()) for index in range(len(dataset))), file=sys.stderr)
except SegnetError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
