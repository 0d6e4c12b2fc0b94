"""Images without masks for semi-supervised training: their files, and what is checked before the first step."""

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import image_files, is_image
from segnet.data.scan.finding import Finding
from segnet.data.scan.problems import Report, grouped
from segnet.data.scan.report import SplitReport
from segnet.data.scan.scan import ScanCache, scan_split
from segnet.errors import DataError, listed
from segnet.images.bands import read_bands

OPTION = "unlabeled"


class UnlabeledImages(SegmentationDataset):
    """Images without masks: every pixel of a sample's mask is `ignore_index`.

    Args:
        sources: folders (with their subfolders), globs and files.
        labeled: the train split; images are read as its images are.

    Raises:
        DataError: a source without an image.
    """

    def __init__(self, sources: Sequence[str], labeled: SegmentationDataset) -> None:
        self.classes, self.channels, self.value_range = labeled.classes, labeled.channels, labeled.value_range
        found = [path for source in sources for path in files_of(source, self.notes)]
        self.paths = [Path(path) for path in {os.path.realpath(path): str(path) for path in found}.values()]

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> Sample:
        path = self.paths[index]
        image = read_bands(path, self.channels, self.value_range)
        ignored = self.classes.ignore_index
        return Sample(image, np.full(image.shape[:2], ignored, np.uint8 if ignored < 256 else np.int32), str(path))

    def files(self, index: int) -> Sequence[Path]:
        return [self.paths[index]]


def files_of(source: str, notes: Notes) -> list[Path]:
    """List the image files of a folder, a glob or a path, sorted; `notes` counts skipped files.

    Raises:
        DataError: there is none.
    """
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        try:
            return image_files(path, notes)
        except DataError as error:
            raise DataError(f"{OPTION}={source}: {error}") from None
    if path.is_file():
        return [path]
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))
    images = [name for name in found if name.is_file() and is_image(name)]
    if not images:
        reason = "no image matches" if glob.has_magic(source) else "no such file or folder"
        raise DataError(f"{OPTION}={source}: {reason}")
    return images


def check_unlabeled(
    images: UnlabeledImages, splits: Mapping[str, SegmentationDataset], val: SplitReport | None, progress: bool = True
) -> list[str]:
    """Check the unlabeled images before the first step.

    Args:
        images: the images.
        splits: the train and val splits, and the same images under `OPTION`, from a cache if there is one.
        val: the scan of the val split; None: no file is read, and val images are found by their paths alone.
        progress: show a progress bar in a terminal.

    Returns:
        Warnings, one line each.

    Raises:
        DataError: an image that cannot be read, or a mask among them.
    """
    refuse_masks(images, splits)
    warnings = list(images.notes.lines())
    if val is None:
        return [*warnings, *filter(None, [val_warning(also_in(images, splits["val"]))])]
    spec = {"name": OPTION, "channels": images.channels, "value_range": images.value_range}
    findings = scan_split(splits[OPTION], OPTION, ScanCache(spec, images.classes), progress=progress).findings
    report = UnlabeledReport(findings, val.findings)
    report.require_sound()
    return [*warnings, *filter(None, [val_warning(report.in_val)])]


def refuse_masks(images: UnlabeledImages, splits: Mapping[str, SegmentationDataset]) -> None:
    """Check that no unlabeled image is the mask of a split.

    Raises:
        DataError: some are; the first is named.
    """
    own = {os.path.realpath(path): path for path in images.paths}
    for split, dataset in splits.items():
        for index in range(len(dataset)):
            for file in dataset.files(index)[1:]:
                if isinstance(file, Path) and (path := own.get(os.path.realpath(file))):
                    raise DataError(f"{OPTION}: {path} is a mask of the {split} split: name folders of images alone")


def also_in(images: UnlabeledImages, split: SegmentationDataset) -> list[str]:
    """Return the unlabeled files that are images of a split, too."""
    own = {os.path.realpath(path): str(path) for path in images.paths}
    firsts = (next(iter(split.files(index)), None) for index in range(len(split)))
    return [own[real] for file in firsts if isinstance(file, Path) and (real := os.path.realpath(file)) in own]


@dataclass(frozen=True)
class UnlabeledReport(Report):
    """Report of the scan of unlabeled images.

    Attributes:
        findings: one per image.
        val: the findings of the val split.
    """

    findings: Sequence[Finding]
    val: Sequence[Finding]

    @property
    def errors(self) -> list[str]:
        """Problems to fix before training, one line each."""
        return grouped([finding for finding in self.findings if finding.problem], {})

    @cached_property
    def in_val(self) -> list[str]:
        """The names of unlabeled images with the pixels of a val image."""
        evaluated = {finding.image_hash for finding in self.val if not finding.problem}
        return [finding.name for finding in self.findings if not finding.problem and finding.image_hash in evaluated]


def val_warning(names: Sequence[str]) -> str:
    """Return a warning about unlabeled images that are val images; empty without any."""
    if not names:
        return ""
    which = "image is also an image" if len(names) == 1 else "images are also images"
    return f"{len(names):,} unlabeled {which} of the val split, so val mIoU is too high for new images: {listed(names)}"
