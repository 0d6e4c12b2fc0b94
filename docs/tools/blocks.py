"""The fenced blocks of a Markdown page, and the marks that say how tests run them; docs/writing.md lists the marks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
KINDS = ("run", "check", "show", "file", "command", "deploy")
SHELL = ("bash", "python")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: of the page, counted from 1.
        language: "bash", "python", "text", ...; empty if the block names none.
        mark: the comment on the line before, as "run: slow, needs onnx"; empty without one.
        text: the lines between the fences.
    """

    line: int
    language: str
    mark: str
    text: str

    @property
    def kind(self) -> str:
        """The first word of the mark."""
        return self.mark.partition(":")[0]

    @property
    def is_slow(self) -> bool:
        return "slow" in self._details

    @property
    def packages(self) -> list[str]:
        """The optional packages that the block needs."""
        return [detail.removeprefix("needs ") for detail in self._details if detail.startswith("needs ")]

    @property
    def _details(self) -> list[str]:
        return [detail.strip() for detail in self.mark.partition(":")[2].split(",")]


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in order."""
    return [
        Block(text.count("\n", 0, found.start()) + 1, found["info"].split(" ")[0], found["mark"] or "", found["text"])
        for found in FENCE.finditer(text)
    ]


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a shell block as words; `&&` and `;` separate commands as line ends do."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word in ("&&", ";", "|"):
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words


def verb_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The verb of segnet and its arguments, if a command runs segnet in any of the ways that the docs show."""
    words = words[2:] if words[0] == "timeout" else words
    names = [word.rpartition("/")[2] for word in words]
    if names[0] == "segnet" and len(words) > 1:
        return words[1], words[2:]
    if names[:2] in (["python", "train.py"], ["python", "predict.py"]):
        return names[1].removesuffix(".py"), words[2:]
    if names[:2] == ["sbatch", "slurm.sh"]:
        return "train", words[2:]
    if names[:2] == ["python", "search_optuna.py"]:
        return "train", words[3:]
    if "-m" in words and words[words.index("-m") + 1 :][:1] == ["segnet"]:
        rest = words[words.index("-m") + 2 :]
        return rest[0], rest[1:]
    return None
