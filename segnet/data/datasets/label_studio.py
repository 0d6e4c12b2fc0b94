"""Label Studio's JSON export (JSON or JSON-MIN) with the images, and its export "Brush labels to PNG", if there is one.

Layout: the images in ``images/``; the JSON export as the only ``*.json`` in the root; the PNGs, if any, in ``masks/``,
one for each brush stroke of a label, named ``task-TASK-annotation-ANNOTATION-by-USER-TAG-LABEL-NUMBER.png``. Polygons,
rectangles and ellipses are drawn from the JSON export, and so are brush labels without PNGs. Of several annotations of
a task the one with the highest number counts; skipped ones do not. An annotation without regions makes its image
background. Of overlapping labels the one later in `class_names` is in front.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.data.dataset import Sample, SegmentationDataset, refuse_other_size
from segnet.data.datasets.annotations import background_id, empty_mask
from segnet.data.datasets.file_names import normal_form
from segnet.data.datasets.json_records import Id
from segnet.data.datasets.label_studio_regions import Region, draw_region
from segnet.data.datasets.label_studio_tasks import ImageFinder, LabelingTask, export_file, read_tasks
from segnet.data.datasets.pairing import image_files, refuse, require_folder, require_root, require_split
from segnet.data.datasets.splits import Division
from segnet.errors import ConfigError, DataError
from segnet.images.files import read_image
from segnet.images.masks import read_mask
from segnet.images.values import checked_value_range

MASK_NAME = re.compile(r"task-(\d{1,18})-annotation-(\d{1,18})-by-(.*)-(\d+)", re.DOTALL)

Layer = tuple[Path | Region, int]  # a mask file or a region, and its class


class LabelStudio(SegmentationDataset):
    """Brush labels, polygons, rectangles and ellipses as masks.

    Args:
        split: "train" or "val", and "test" with a fraction for it.
        root: folder with ``images``, the JSON export and, if there are any, ``masks``.
        class_names: labels that become classes, in the order of their ids.
        palette: RGB colors, 0-255, one per class; chosen if not given.
        unlabeled: class of pixels without a label, or "ignore"; None: a class named background, else ignored.
        val_fraction, test_fraction: fractions of the images.
        split_seed: of that random choice.
        group: regular expression; images with the same matched text in their paths stay in one split.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.

    Raises:
        ConfigError: a value outside these.
        DataError: a folder or file that is missing, a mask without task or label, or a task without image.
    """

    has_value_range = True

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
        value_range: Sequence[float] | None = None,
    ) -> None:
        require_split(split)
        if isinstance(class_names, str):
            raise ConfigError(f"dataset.class_names={class_names} is not a list: write dataset.class_names=[sky,road]")
        division = Division(val_fraction, test_fraction, split_seed, group)
        self.classes = Classes.create(class_names, palette)
        self._background = background_id(self.classes, unlabeled)
        self.value_range = checked_value_range(value_range)
        folder = require_root(root)
        self._images = require_folder(folder / "images", "the images of dataset.root")
        samples = self._find(folder)
        keys = [image.relative_to(self._images).as_posix() for image, _ in samples]
        self._samples = division.choose(samples, keys, split, str(folder), self.notes)

    def _find(self, folder: Path) -> list[tuple[Path, list[Layer]]]:
        """Return the annotated images with the masks of their last annotations, in the order of the tasks."""
        layers = self._layers(folder / "masks") if (folder / "masks").is_dir() else {}
        self._source = source = export_file(folder)
        tasks = read_tasks(source)
        for number in layers.keys() - tasks.keys():
            first = next(layer for group in layers[number].values() for layer, _ in group)
            refuse(f"{first}: task {number} is not in the JSON export: export both at once")
        images = image_files(self._images, self.notes)
        finder = ImageFinder(self._images, images)
        found: list[tuple[Path, list[Layer]]] = []
        task_of: dict[Path, Id] = {}
        for number in sorted(tasks, key=lambda number: (isinstance(number, str), number)):
            task, where = tasks[number], f"{source}: task {number}"
            chosen = self._last_annotation(task, layers.get(number, {}), source, number)
            if chosen is None:
                continue
            image = finder.find(task.image, where)
            if image is None:
                refuse(f"{source}: the image '{task.image}' of task {number} is not in {self._images}")
            elif image in task_of:
                refuse(
                    f"{where}: has the image {image}, and so has task {task_of[image]}: keep the folders of the export"
                )
            else:
                task_of[image] = number
                found.append((image, chosen))
        if not found:
            refuse(f"{source}: no task has both an image and a drawable annotation")
        for image in images:
            if image not in task_of:
                self.notes.add(
                    self._images, "image", "left out, no annotated task has it", image.relative_to(self._images)
                )
        return found

    def _last_annotation(
        self, task: LabelingTask, layers: Mapping[int, list[Layer]], source: Path, number: Id
    ) -> list[Layer] | None:
        """Return the masks of the last annotation; None if the task is left out."""
        numbers = {*layers, *task.empty, *task.drawn} - task.skipped
        last = max(numbers, default=None)
        if last is None:
            reason = "left out, it was skipped" if task.skipped else "left out, it was not annotated"
            self.notes.add(source, "task", reason, number)
            return None
        strokes = layers.get(last, [])
        regions = [region for region in task.drawn.get(last, ()) if region.kind != "brush" or not strokes]
        num_others = sum(kind != "brush" or not strokes for kind in task.others.get(last, ()))
        found = [*strokes, *((region, self._class_of_label(region)) for region in regions)]
        if not found and last in task.drawn:
            self.notes.add(source, "task", "left out, its last annotation has no drawable region", number)
            return None
        if not found and self._background == self.classes.ignore_index:
            reason = "left out, it is annotated as empty, and pixels without a label are ignored"
            self.notes.add(source, "task", reason, number)
            return None
        if num_others:
            reason = "left out, neither polygon, rectangle, ellipse nor brush, or without label"
            self.notes.add(source, "region", reason, f"task {number}", num_others)
        return sorted(found, key=lambda layer: layer[1])

    def _class_of_label(self, region: Region) -> int:
        names = [normal_form(name) for name in self.classes.names]
        if region.label not in names:
            raise DataError(
                f"{region.value.source}: label '{region.label}' of {region.value.place} is not a class: add it to "
                f"dataset.class_names.{did_you_mean(region.label, self.classes.names)}"
            )
        return names.index(region.label)

    def _layers(self, folder: Path) -> dict[Id, dict[int, list[Layer]]]:
        """Return the masks and classes of each task and annotation."""
        found: dict[Id, dict[int, list[Layer]]] = {}
        for path in image_files(folder, self.notes):
            match = MASK_NAME.fullmatch(path.stem)
            if not match:
                raise DataError(f"{path}: is not named as in the export: task-1-annotation-1-by-1-tag-LABEL-0.png")
            task, annotation = int(match[1]), int(match[2])
            found.setdefault(task, {}).setdefault(annotation, []).append((path, self._class_of(match[3], path)))
        return found

    def _class_of(self, text: str, path: Path) -> int:
        """Return the class in "USER-TAG-LABEL", the longest class name at its end; each part may contain dashes."""
        written = [normal_form(name).replace("/", "-").replace("\\", "-") for name in self.classes.names]
        fitting = sorted(
            (len(name), index) for index, name in enumerate(written) if normal_form(text).endswith(f"-{name}")
        )
        if not fitting:
            raise DataError(
                f"{path}: is of no class ({', '.join(self.classes.names)}): add its label to dataset.class_names"
            )
        if len(fitting) > 1 and fitting[-1][0] == fitting[-2][0]:
            twins = " and ".join(f"'{self.classes.names[index]}'" for _, index in fitting[-2:])
            raise DataError(f"{path}: may be {twins}, which differ in dashes and slashes only: rename one")
        return fitting[-1][1]

    def __len__(self) -> int:
        return len(self._samples)

    def load(self, index: int) -> Sample:
        image_path, layers = self._samples[index]
        image = read_image(image_path, self.value_range)
        size = (image.shape[0], image.shape[1])
        mask = empty_mask(size, self._background, self.classes)
        for layer, class_id in layers:
            if isinstance(layer, Region):
                mask[draw_region(layer, size, image_path)] = class_id
                continue
            stroke = read_mask(layer)
            refuse_other_size(stroke, image, layer, image_path)  # type: ignore[arg-type]
            mask[stroke > 0] = class_id
        return Sample(image, mask, str(image_path))

    def files(self, index: int) -> Sequence[Path]:
        image, layers = self._samples[index]
        return image, *(layer for layer, _ in layers if isinstance(layer, Path)), self._source
