"""Names of images in the files of annotation tools: paths without extension, one a line of a list."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from segnet.errors import DataError
from segnet.prediction import OutputSettings, Task
from segnet.prediction.folder_files import FolderSettings, frame_file, image_address
from segnet.prediction.inputs import Input
from segnet.prediction.records import Records

LISTED_KINDS = ("yolo", "cvat")  # kinds whose files have a list of names
NAMELESS_KINDS = ("coco",)  # kinds that take an image without a name


def with_tool_names(
    tasks: Sequence[Task], settings: OutputSettings, folder: FolderSettings, records: Records
) -> list[Task]:
    """Give a problem to each input that the files of the chosen kinds cannot name; it fails, and others go on."""
    if not settings.folder_kinds:
        return list(tasks)
    named, stems = [], _stems(tasks)
    for task in tasks:
        problem = task.input.problem
        if not problem:
            moving = task.input.kind in ("video", "camera")
            chosen = settings.frame_kinds if moving else settings.kinds
            kinds = [kind for kind in settings.folder_kinds if kind in chosen]
            problem = _name_problem(task.input, task.name, kinds, stems)
            if not problem and "label-studio" in kinds:
                problem = _address_problem(frame_file(records, task.name) if moving else _source(task.input), folder)
        named.append(Task(replace(task.input, problem=problem), task.name))
    return named


def _source(item: Input) -> str:
    return item.text if item.path is None else os.path.abspath(item.path)


def _address_problem(source: str, folder: FolderSettings) -> str:
    try:
        image_address(source, folder)
    except DataError as error:
        return str(error)
    return ""


def _stems(tasks: Sequence[Task]) -> Counter[str]:
    """Number of inputs by the path of their file without extension, and without case."""
    return Counter(_stem(task.input) for task in tasks)


def _stem(item: Input) -> str:
    return os.path.splitext(_source(item))[0].casefold()


def _name_problem(item: Input, name: str, kinds: Sequence[str], stems: Counter[str]) -> str:
    """The reason why an input cannot be named; empty if it can.

    Args:
        stems: as `_stems` counts them.
    """
    moving = item.kind in ("video", "camera")
    listed = ",".join(kind for kind in kinds if kind in LISTED_KINDS)
    named = [kind for kind in kinds if kind not in NAMELESS_KINDS]
    if named and item.kind == "stdin":
        return f"-: --save {','.join(named)} needs an image with a name: save it to a file"
    if not listed:
        return ""
    if not moving and PurePath(name) != item.name.with_suffix(""):
        problem, way_out = "not unique", "rename the file, or predict its folder alone"
        if stems[_stem(item)] > 1:  # files of one folder that differ in their extension
            way_out = "rename the file"
        elif "~" in name and "~" not in str(item.name):  # cut
            problem, way_out = "too long", "rename the file"
        return (
            f"{item.text}: --save {listed} names images without extension, and '{item.name.with_suffix('')}' is "
            f"{problem}: {way_out}"
        )
    if name != name.strip() or name.startswith("#") or not name.isprintable():
        return f"{item.text}: --save {listed} cannot list a name with {_unusual(name)}: rename the file"
    return ""


def _unusual(name: str) -> str:
    if name.startswith("#"):
        return "# at its start"
    return "a space at an end" if name.isprintable() else "control characters, or in another encoding than UTF-8"
