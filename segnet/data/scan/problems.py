"""Problems of a dataset: grouped by cause, and raised as an error."""

import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence

from segnet.data.scan.finding import Finding
from segnet.errors import DataError, counted, listed


class Report(ABC):
    """Errors and warnings of a dataset."""

    @property
    @abstractmethod
    def errors(self) -> list[str]:
        """Problems to fix before training, one line each."""

    def require_sound(self) -> None:
        """Raise an error if the dataset has errors.

        Raises:
            DataError: the first error, with the number of further ones.
        """
        if errors := self.errors:
            more = len(errors) - 1
            raise DataError(errors[0] + (f" (and {counted(more, 'more problem')})" if more else ""))


def grouped(findings: Sequence[Finding], advice: Mapping[str, str]) -> list[str]:
    """Group problems by cause: the first problem, the names of other samples with the same cause, and the advice."""
    causes: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        causes[_cause(finding)].append(finding)
    return [
        group[0].problem
        + (f" (and {len(group) - 1:,} more: {listed([finding.name for finding in group[1:]], 3)})" if group[1:] else "")
        + (f"; {advice[cause]}" if advice.get(cause) else "")
        for cause, group in causes.items()
    ]


def _cause(finding: Finding) -> str:
    """A problem without the files and numbers of its sample."""
    if finding.labels:
        return "labels"
    if finding.colors:
        return "colors"
    if finding.limits:
        return "values"
    words = [word for word in finding.problem.split() if "/" not in word]
    return re.sub(r"[\d.,]+", "#", " ".join(words))
