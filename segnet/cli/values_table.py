"""Tables for masks without class names: their values or colors, and the matching options."""

import shlex
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segnet.cli.output import say
from segnet.cli.tables import NUM_ERRORS, cell, normalization_options
from segnet.data.scan.values_report import ValuesReport

NUM_ROWS = 20  # values or colors in the table
MAX_OPTIONS = 1000  # length of the options of a further reading [characters]


def print_values(report: ValuesReport, choice: Path | None) -> None:
    """Print values, warnings, errors and suggested options.

    Args:
        report: report of the dataset.
        choice: the written file dataset/NAME.yaml; None: none.
    """
    Console().print(values_table(report))
    if len(report.pixels) > NUM_ROWS:
        say(f"and {len(report.pixels) - NUM_ROWS:,} more, see inspection.json")
    for split in report.splits:
        usable = sum(not finding.problem for finding in split.findings)
        sizes = ", ".join(f"{w} x {h} ({n:,})" for (h, w), n in split.sizes.most_common(3))
        say(f"{split.split}: {usable:,} of {len(split.masks):,} images usable{'; ' if sizes else ''}{sizes}")
    for warning in report.warnings:
        say(f"warning: {warning}")
    for error in report.errors[:NUM_ERRORS]:
        say(f"error: {error}")
    for number, reading in enumerate(report.readings):
        options = report.options(reading)
        say(f"{reading.condition}, add these options:")
        say(f"  {options}" if number == 0 or len(options) <= MAX_OPTIONS else "  those in inspection.json")
    if report.readings and report.values:
        say(f"and without pretrained weights: {normalization_options(report.values)}")
    if choice:
        say(f"as a file: {choice}; edit the class names in it, then run")
        say(f"  segnet train --config-dir {shlex.quote(str(choice.parent.parent))} dataset={choice.stem}")


def values_table(report: ValuesReport) -> Table:
    """Build the table of the pixels and images of each value or color, by split."""
    table = Table(title="pixels [%], and images with the value")
    table.add_column("color" if report.is_colored else "value", justify="right")
    counts = [split.counts(report.is_colored) for split in report.splits]
    no_data = [sum(mask.no_data for mask in split.masks) for split in report.splits]
    totals = [max(1, pixels.total() + missing) for (pixels, _), missing in zip(counts, no_data, strict=True)]
    for split in report.splits:
        table.add_column(cell(split.split), justify="right")
        table.add_column("images", justify="right")
    for key in _shown_keys(report):
        cells = []
        for (pixels, images), total in zip(counts, totals, strict=True):
            cells += [f"{100 * pixels[key] / total:.2f}", f"{images[key]:,}"]
        name = ",".join(map(str, key)) if report.is_colored else str(key)
        declared = " (declared no data)" if not report.is_colored and key in report.declared else ""
        table.add_row(cell(name + declared), *cells)
    if any(no_data):
        shares = [f"{100 * missing / total:.2f}" for missing, total in zip(no_data, totals, strict=True)]
        table.add_row("no data", *[text for share in shares for text in (share, "")])
    return table


def _shown_keys(report: ValuesReport) -> list[Any]:
    """The values in order, or the most frequent colors."""
    if report.is_colored:
        return [key for key, _ in report.pixels.most_common(NUM_ROWS)]
    return sorted(report.pixels)[:NUM_ROWS]
