"""Warnings about files with several pages, or with nodata values."""

from collections.abc import Sequence

from segnet.classes import Classes
from segnet.data.scan.finding import Finding
from segnet.errors import counted, listed


def file_warnings(split: str, findings: Sequence[Finding], classes: Classes) -> list[str]:
    """Return warnings about the files of a split.

    Args:
        split: name of the split.
        findings: findings of its samples.
        classes: classes of its masks.
    """
    texts = []
    if several := [finding.name for finding in findings if finding.num_pages > 1]:
        what = counted(len(several), "image has", "images have")
        texts.append(f"{split}: {what} several pages or frames, of which the first is read: {listed(several)}")
    for label in sorted({finding.nodata for finding in findings} - {-1}):
        names = [finding.name for finding in findings if finding.nodata == label]
        what = counted(len(names), "mask declares", "masks declare")
        texts.append(
            f"{split}: {what} {label}, class '{classes.names[label]}', to be no data, so its pixels are ignored: "
            f'"dataset.id_map={{{label}:{label},other:same}}" keeps them: {listed(names)}'
        )
    if names := [finding.name for finding in findings if finding.has_nodata]:
        what = counted(len(names), "image has", "images have")
        texts.append(
            f"{split}: {what} labeled pixels of the nodata value of the file, which are read as data: dataset=geotiff "
            f"ignores them: {listed(names)}"
        )
    return texts
