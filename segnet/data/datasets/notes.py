"""Notes about files and labels that a dataset left out: counted by reason, with the first names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

NUM_EXAMPLES = 3


@dataclass(slots=True)
class _Count:
    number: int = 0
    examples: list[str] = field(default_factory=list)


class Notes:
    """Counts of files and labels that were left out or merged.

    A note is "WHERE: NUMBER WHAT: EXAMPLES", such as "/data/images: 2 files left out, hidden or trash: .cache/a.png".
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], _Count] = {}

    def add(self, where: Path | str, one: str, reason: str, example: object = "", number: int = 1) -> None:
        """Count an item.

        Args:
            where: file or folder.
            one: what was left out, in the singular ("image").
            reason: what was done, and why ("left out, no list names it").
            example: its name.
            number: how many of them.
        """
        count = self._counts.setdefault((str(where), one, reason), _Count())
        count.number += number
        if len(count.examples) < NUM_EXAMPLES and str(example):
            count.examples.append(str(example))

    def include(self, other: "Notes") -> None:
        """Take over the notes of another dataset of the same files; equal ones count once."""
        for key, count in other._counts.items():
            self._counts.setdefault(key, count)

    def lines(self) -> Sequence[str]:
        """Return one line per place and reason, in the order of their first appearance."""
        return [_line(*key, count) for key, count in self._counts.items()]


def _line(where: str, one: str, reason: str, count: _Count) -> str:
    what = one if count.number == 1 else f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    more = ", ..." if count.number > len(count.examples) else ""
    examples = f": {', '.join(count.examples)}{more}" if count.examples else ""
    return f"{where}: {count.number:,} {what} {reason}{examples}"
