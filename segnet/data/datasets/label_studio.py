"""Label Studio's export "Brush labels to PNG", unpacked, with the JSON export that says which image is which task.

Layout: the PNGs in ``masks/``, one for each brush stroke of a label, named
``task-TASK-annotation-ANNOTATION-by-USER-TAG-LABEL-NUMBER.png``; the images in ``images/``; the JSON export as the only
``*.json`` in the root. Of several annotations of a task the one with the highest number counts. Of overlapping labels
the one later in `class_names` lies in front.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from segnet.classes import Classes
from segnet.data.dataset import Sample, SegmentationDataset, refuse_other_size
from segnet.data.datasets.annotations import background_id, empty_mask, entry, read_json
from segnet.data.datasets.pairing import pictures, require_folder, require_root, require_split
from segnet.data.datasets.splits import Division
from segnet.errors import ConfigError, DataError
from segnet.images.files import read_image, read_mask

MASK_NAME = re.compile(r"task-(\d+)-annotation-(\d+)-by-(.*)-(\d+)", re.DOTALL)
UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-")  # Label Studio puts it before the names of uploaded files


class LabelStudio(SegmentationDataset):
    """Brush labels as masks.

    Args:
        split: "train" or "val", and "test" with a share for it.
        root: folder that holds ``images``, ``masks`` and the JSON export.
        class_names: labels that become classes, in the order of their ids.
        palette: RGB colors, 0-255, one a class; chosen where not given.
        unlabeled: class of pixels without a label, or "ignore"; None: a class named background, else ignored.
        val_fraction, test_fraction: shares of the images set aside.
        split_seed: of that choice.
        group: regular expression; images in whose path it matches the same text stay in one split.

    Raises:
        ConfigError: a value outside these.
        DataError: a folder or file that is not there, a mask of no task or label, or a task of no image.
    """

    def __init__(
        self,
        split: str,
        root: str,
        class_names: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        unlabeled: str | None = None,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        split_seed: int = 0,
        group: str | None = None,
    ) -> None:
        require_split(split)
        if isinstance(class_names, str):
            raise ConfigError(f"dataset.class_names={class_names} is not a list: write dataset.class_names=[sky,road]")
        division = Division(val_fraction, test_fraction, split_seed, group)
        self.classes = Classes.create(class_names, palette)
        self._background = background_id(self.classes, unlabeled)
        folder = require_root(root)
        images = require_folder(folder / "images", "the images of dataset.root")
        layers = self._layers(require_folder(folder / "masks", "the masks of dataset.root"))
        image_of = task_images(folder, pictures(images))
        for task in layers:
            if task not in image_of:
                raise DataError(f"{layers[task][0][0]}: task {task} is not in the JSON export: export both at once")
        tasks = sorted(layers)
        samples = [(image_of[task], layers[task]) for task in tasks]
        keys = [image.relative_to(images).as_posix() for image, _ in samples]
        self._samples = division.choose(samples, keys, split, str(folder))

    def _layers(self, folder: Path) -> dict[int, list[tuple[Path, int]]]:
        """Of each task the masks of its last annotation with their classes, in the order of these."""
        found: dict[int, dict[int, list[tuple[Path, int]]]] = {}
        for path in pictures(folder):
            match = MASK_NAME.fullmatch(path.stem)
            if not match:
                raise DataError(f"{path}: is not named task-1-annotation-1-by-1-tag-LABEL-0.png, as the export is")
            task, annotation = int(match[1]), int(match[2])
            found.setdefault(task, {}).setdefault(annotation, []).append((path, self._class_of(match[3], path)))
        return {
            task: sorted(annotations[max(annotations)], key=lambda layer: layer[1])
            for task, annotations in found.items()
        }

    def _class_of(self, text: str, path: Path) -> int:
        """The class in "USER-TAG-LABEL", where each part may have dashes: the longest name at its end."""
        fitting = [
            (len(name), index)
            for index, name in enumerate(self.classes.names)
            if text.endswith("-" + name.replace("/", "-").replace("\\", "-"))
        ]
        if not fitting:
            raise DataError(
                f"{path}: is of no class ({', '.join(self.classes.names)}): add its label to dataset.class_names"
            )
        return max(fitting)[1]

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> Sample:
        image_path, layers = self._samples[index]
        image = read_image(image_path)
        mask = empty_mask((image.shape[0], image.shape[1]), self._background, self.classes)
        for path, class_id in layers:
            stroke = read_mask(path)
            refuse_other_size(stroke, image, path, image_path)  # type: ignore[arg-type]
            mask[stroke > 0] = class_id
        return Sample(image, mask, str(image_path))

    def files(self, index: int) -> Sequence[Path]:
        image, layers = self._samples[index]
        return image, *(path for path, _ in layers)


def task_images(folder: Path, images: Sequence[Path]) -> dict[int, Path]:
    """The image of each task in the JSON export, by the file's name.

    Raises:
        DataError: there is not one JSON file, or a task whose image is not among `images`.
    """
    exports = sorted(folder.glob("*.json"))
    if len(exports) != 1:
        raise DataError(f"{folder}: has {len(exports)} JSON files, not one: put the JSON export of the project there")
    source = exports[0]
    by_name = {image.name: image for image in images}
    found = {}
    tasks = read_json(source)
    for task in tasks if isinstance(tasks, list) else []:
        name = unquote(image_field(task, source)).replace("\\", "/").rpartition("/")[2]
        name = name.rpartition("=")[2]  # /data/local-files/?d=a.jpg
        image = by_name.get(name) or by_name.get(UPLOAD_PREFIX.sub("", name, count=1))
        if image is None:
            raise DataError(f"{source}: the image '{name}' of task {task.get('id')} is not in {folder / 'images'}")
        found[entry(task, "id", int, source)] = image
    return found


def image_field(task: Any, source: Path) -> str:
    """Where a task says its image is: "image" in its data (JSON) or in itself (JSON-MIN).

    Raises:
        DataError: nowhere.
    """
    data = task.get("data", task) if isinstance(task, dict) else {}
    texts = [value for key, value in data.items() if isinstance(value, str)]
    value = data.get("image") or (texts[0] if len(texts) == 1 else None)
    if not isinstance(value, str):
        raise DataError(f"{source}: a task has no 'image' in its data")
    return value
