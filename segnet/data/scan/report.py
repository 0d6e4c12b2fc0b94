"""Dataset report: statistics, errors and warnings of the dataset scan, for training and `segnet inspect`.

Errors would make training fail or learn wrong labels. Warnings are for the user to check.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from segnet.classes import Classes
from segnet.config import DataConfig
from segnet.data.scan.band_values import BandValues, common_range, pooled, value_range_option
from segnet.data.scan.crop_fill import small_images
from segnet.data.scan.file_warnings import file_warnings
from segnet.data.scan.finding import Finding
from segnet.data.scan.problems import Report, grouped
from segnet.errors import counted, listed

NEAR_CONSTANT = 0.999  # fraction of one class from which a mask is reported

SampleKey = tuple[str, str]  # split, and the sample's name


@dataclass(frozen=True)
class SplitReport:
    """Report of a split.

    Attributes:
        split: name of the split.
        classes: classes of the dataset.
        findings: one per sample.
        doubt: the dataset's question about the labels of all its masks; empty: none.
        advice: options for masks with unknown "labels", or for masks in "colors".
        notes: files and labels that the dataset left out, one line each.
    """

    split: str
    classes: Classes
    findings: Sequence[Finding]
    doubt: str = ""
    advice: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @cached_property
    def readable(self) -> list[Finding]:
        """The findings without a problem."""
        return [finding for finding in self.findings if not finding.problem]

    @cached_property
    def pixels(self) -> Counter[int]:
        """Class id or `ignore_index` -> number of pixels."""
        counts: Counter[int] = Counter()
        for finding in self.findings:  # masks with a problem are counted as far as possible
            counts.update(finding.pixels)
        return counts

    @cached_property
    def images(self) -> Counter[int]:
        """Class id or `ignore_index` -> number of images that contain it."""
        return Counter(label for finding in self.findings for label in finding.pixels)

    @property
    def num_pixels(self) -> int:
        """Number of pixels that `pixels` is a part of."""
        if self.classes.is_multilabel:  # a pixel counts for each of its classes
            return sum(height * width * number for (height, width), number in self.sizes.items())
        return self.pixels.total()

    @cached_property
    def labeled_where_present(self) -> Counter[int]:
        """Class id -> number of labeled pixels in all images that contain it."""
        counts: Counter[int] = Counter()
        for finding in self.readable:
            labeled = finding.labeled(self.classes.ignore_index)
            for label in finding.pixels:
                counts[label] += labeled
        return counts

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """(height, width) -> number of images of this size."""
        return Counter(finding.size for finding in self.readable)

    @property
    def missing(self) -> list[str]:
        """The classes without a pixel."""
        return [name for label, name in enumerate(self.classes.names) if not self.pixels[label]]

    @property
    def ignored(self) -> list[str]:
        """The samples without a labeled pixel."""
        return [finding.name for finding in self.readable if not finding.labeled(self.classes.ignore_index)]

    @property
    def near_constant(self) -> list[str]:
        """The samples with (almost) only one class in the mask."""
        ignore_index = self.classes.ignore_index
        largest = [
            (finding, max((n for label, n in finding.pixels.items() if label != ignore_index), default=0))
            for finding in self.readable
        ]
        return [f.name for f, most in largest if most and most >= NEAR_CONSTANT * f.labeled(ignore_index)]

    @property
    def errors(self) -> list[str]:
        """Problems to fix before training, one line each."""
        unusable = [finding for finding in self.findings if finding.problem]
        option = value_range_option([finding.limits for finding in unusable])
        problems = grouped(unusable, {**self.advice, "values": f"for this split: {option}" if option else ""})
        ignore_index = self.classes.ignore_index
        if self.readable and set(self.pixels) <= {ignore_index} and len(self.ignored) == len(self.readable):
            number = len(self.readable)
            masks = "its only mask is" if number == 1 else f"all of its {number:,} masks are"
            problems.append(
                f"the {self.split} split has no labeled pixel: {masks} ignore_index={ignore_index} throughout"
            )
        if self.doubt:
            problems.append(f"the masks of the {self.split} split ({len(self.readable):,}) {self.doubt}")
        return problems

    @property
    def warnings(self) -> list[str]:
        """Warnings for the user to check, one line each."""
        missing = self.missing if self.readable else []
        ignored, near_constant = self.ignored, self.near_constant
        texts = (
            (missing, f"no pixel of {counted(len(missing), 'class', 'classes')}"),
            (ignored, f"no labeled pixel in {counted(len(ignored), 'mask')}"),
            (near_constant, f"{counted(len(near_constant), 'mask')} of one class to {100 * NEAR_CONSTANT:g} % or more"),
        )
        return [
            *(f"{self.split}: {note}" for note in self.notes),
            *(f"{self.split}: {text}: {listed(names)}" for names, text in texts if names),
            *file_warnings(self.split, self.readable, self.classes),
            *filter(None, [self.little_range]),
        ]

    @cached_property
    def values(self) -> BandValues | None:
        """Band statistics over all images; None if they were not measured."""
        return pooled([finding.values for finding in self.readable])

    @property
    def values_in_range(self) -> BandValues | None:
        """Band statistics with the value range that `little_range` suggests; None if it suggests none."""
        limits = [finding.limits for finding in self.readable if finding.limits]
        found = common_range(limits)
        if self.split != "train" or self.values is None or not self.values.is_little or found is None:
            return None
        full = limits[0][2]
        return self.values.within(found[0] / full, found[1] / full)

    @property
    def little_range(self) -> str:
        """A warning if training images fill little of their range, with the option to set; empty otherwise."""
        limits = [finding.limits for finding in self.readable if finding.limits]
        if self.split == "train" and self.values is not None and self.values.spread == 0:
            value = f"{self.values.low[0]:.3g}"
            return f"{self.split}: almost all pixels of all images have one value, {value} of 1: check the files"
        if self.values_in_range is None:
            return ""
        low, high = min(limit[0] for limit in limits), max(limit[1] for limit in limits)
        return (
            f"{self.split}: images fill little of their range ({low:.6g}-{high:.6g} of 0-{limits[0][2]:g}), almost one "
            f"brightness to the network: set {value_range_option(limits)}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible builtins."""
        labels = [*enumerate(self.classes.names), (self.classes.ignore_index, "ignored")]
        return {
            "num_images": len(self.findings),
            "num_readable": len(self.readable),
            "sizes": [
                {"height": height, "width": width, "images": number}
                for (height, width), number in self.sizes.most_common()
            ],
            "labels": [
                {"id": label, "name": name, "pixels": self.pixels[label], "images": self.images[label]}
                for label, name in labels
            ],
            "bands": [
                {"low": low, "high": high, "mean": mean, "std": std}
                for low, high, mean, std in zip(
                    self.values.low, self.values.high, self.values.mean, self.values.std, strict=True
                )
            ]
            if self.values
            else [],
            "problems": [finding.problem for finding in self.findings if finding.problem],
            "missing_classes": self.missing,
            "ignored_masks": self.ignored,
            "near_constant_masks": self.near_constant,
        }


@dataclass(frozen=True)
class DatasetReport(Report):
    """Report of a dataset.

    Attributes:
        splits: reports of the scanned splits.
        lost: files that belong to no sample, one line each.
        data: options of the training crops, to warn about small images; None: not checked.
    """

    splits: Sequence[SplitReport]
    lost: Sequence[str] = ()
    data: DataConfig | None = None

    @property
    def errors(self) -> list[str]:
        """Problems to fix before training, one line each."""
        return list(dict.fromkeys([*self.lost, *(error for split in self.splits for error in split.errors)]))

    @property
    def warnings(self) -> list[str]:
        """Warnings for the user to check, one line each."""
        small = [small_images(split.split, split.sizes, self.data) for split in self.splits] if self.data else []
        return [
            *(warning for split in self.splits for warning in split.warnings),
            *filter(None, small),
            *self._duplicate_warnings(),
        ]

    @cached_property
    def duplicates(self) -> list[list[tuple[SampleKey, str]]]:
        """Groups of samples with equal images, with the hashes of their masks.

        Samples without a labeled pixel are left out: empty corners of scenes are alike.
        """
        groups: dict[str, list[tuple[SampleKey, str]]] = defaultdict(list)
        for split in self.splits:
            for finding in split.readable:
                if finding.labeled(split.classes.ignore_index):
                    groups[finding.image_hash].append(((split.split, finding.name), finding.mask_hash))
        return [group for group in groups.values() if len(group) > 1]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-compatible builtins."""
        return {
            "splits": {split.split: split.to_dict() for split in self.splits},
            "duplicates": [
                [{"split": split, "name": name, "mask": mask_hash} for (split, name), mask_hash in group]
                for group in self.duplicates
            ],
            "errors": self.errors,
            "warnings": self.warnings,
        }

    def _duplicate_warnings(self) -> list[str]:
        within: list[str] = []
        across: list[str] = []
        contradicting: list[str] = []
        for group in self.duplicates:
            splits = {split for (split, _), _ in group}
            text = " = ".join(f"{name} ({split})" for (split, name), _ in group)
            (across if len(splits) > 1 else within).append(text)
            if len({mask_hash for _, mask_hash in group}) > 1:
                contradicting.append(text)
        texts = (
            (across, "in more than one split, so evaluation scores are too high"),
            (within, "several times in one split"),
            (contradicting, "several times with different masks"),
        )
        return [f"{counted(len(found), 'image')} {text}: {listed(found)}" for found, text in texts if found]
