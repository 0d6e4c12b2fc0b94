"""Charts as SVG texts that stand in an HTML page: its fonts show the names of classes in every script."""

import math
from collections.abc import Sequence
from html import escape

CELL = 26  # height of a row [pixels]
LETTER = 7.2  # about the width of one, 12 pixels high [pixels]
LONGEST_NAME = 24  # letters
MOST_NUMBERS = 24  # columns up to which cells hold their numbers
LEAST = 0.0005  # share that is drawn without a number: less would read 0.0 %


def heat_map(
    values: Sequence[Sequence[float]],
    rows: Sequence[str],
    columns: Sequence[str],
    titles: tuple[str, str],
    width: int = 1040,
) -> str:
    """A table of shares as colored cells, darker for more; NaN stays empty.

    Args:
        values: shares, 0-1, one list a row.
        rows, columns: their names.
        titles: what the rows and the columns are.
        width: that it may have [pixels].
    """
    left = 30 + LETTER * max(len(_short(name)) for name in rows)
    top = 34 + LETTER * max(len(_short(name)) for name in columns)
    cell = min(46.0, (width - left) / len(columns))
    numbered = cell >= 26 and len(columns) <= MOST_NUMBERS
    parts = [_text(left, 14, titles[1], "start", bold=True), _text(left - 8, top - 8, titles[0], "end", bold=True)]
    every = max(1, math.ceil(14 / cell))  # columns to a name
    for index, name in enumerate(columns):
        if index % every == 0:
            x, y = left + (index + 0.5) * cell + 4, top - 6
            parts.append(
                f'<text x="{x:.1f}" y="{y:.1f}" transform="rotate(-90 {x:.1f} {y:.1f})">{escape(_short(name))}</text>'
            )
    for index, (name, row) in enumerate(zip(rows, values, strict=True)):
        y = top + index * CELL
        parts.append(_text(left - 8, y + CELL / 2 + 4, _short(name), "end"))
        for column, value in enumerate(row):
            if value > 0 or (numbered and not math.isnan(value)):
                told = f"{name}, {columns[column]}: {100 * value:.1f} %"
                parts.append(_cell(left + column * cell, y, cell, value, numbered, told))
    right, bottom = left + len(columns) * cell, top + len(rows) * CELL
    parts.append(
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" class="frame"/>'
    )
    total = max(right + 2, left + LETTER * len(titles[1]) + 20)
    return f'<svg width="{total:.0f}" height="{bottom + 2:.0f}" role="img">{"".join(parts)}</svg>'


def _cell(x: float, y: float, width: float, share: float, numbered: bool, told: str) -> str:
    shade = [round(255 + share * (end - 255)) for end in (8, 81, 156)]  # white to blue
    color = "#{:02x}{:02x}{:02x}".format(*shade)
    rect = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{CELL}" fill="{color}"/>'
    number = ""
    if numbered:
        ink = ' fill="#fff"' if share > 0.55 else ""
        number = (
            f'<text x="{x + width / 2:.1f}" y="{y + CELL / 2 + 4}" text-anchor="middle"{ink}>{100 * share:.0f}</text>'
        )
    return f"<g><title>{escape(told)}</title>{rect}{number}</g>"


def _text(x: float, y: float, text: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
