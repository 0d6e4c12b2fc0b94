"""Read the YAML file of a YOLO dataset, and find its images and labels.

Source: ultralytics/data/utils.py, for how paths are resolved: ``path`` from the YAML file's folder, splits from
``path``, labels in the folder ``labels`` in place of the last ``images``. Unlike there, nothing outside the root is
read.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from segnet.choices import YAML_SUFFIXES
from segnet.data.datasets.file_names import Files, normal_form
from segnet.data.datasets.json_records import as_integer, shown
from segnet.data.datasets.lists import COMMENT
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import image_files, is_image
from segnet.data.datasets.splits import SPLIT_OF_NAME, held_out
from segnet.data.datasets.text_files import read_lines
from segnet.data.datasets.yaml_records import read_yaml
from segnet.errors import DataError
from segnet.system.files import is_hidden
from segnet.system.path_names import is_elsewhere, parts_of

KEYS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}
OTHER_TEXTS = frozenset({"classes.txt", "obj.names", "notes.txt"})  # files of labeling tools next to labels


class YOLOFiles:
    """Reads the YAML file, and finds its images and labels.

    Args:
        root: folder of the dataset, which names may not leave.
        data: the YAML file in it; if missing, the only YAML file in the folder.
        notes: counts what is left out.

    Raises:
        DataError: there is no such file, or it is none of YOLO's for segmentation.
    """

    def __init__(self, root: Path, data: str, notes: Notes) -> None:
        self.root, self.source, self._notes = root, _yaml_file(root, data), notes
        self._record = read_yaml(self.source)
        if self._record.has("kpt_shape"):
            raise DataError(f"{self.source}: kpt_shape: its labels are keypoints, not polygons: export segmentations")
        self._files = Files(root)
        self._top = self.source.parent
        if self._record.has("path"):
            stated = self._folder(self._record.text("path"), [self._top])
            self._top = stated or self._top

    def class_names(self) -> dict[int, str]:
        """Return the class names by number; equal names are one class.

        Raises:
            DataError: no names, a name that is no text, or another number of names than `nc`.
        """
        value = self._record.get("names")
        if isinstance(value, list):
            value = dict(enumerate(value))
        if not isinstance(value, dict) or not value:
            raise self._record.error("names", "a list of class names, or numbers and names")
        names: dict[int, str] = {}
        for key, name in value.items():
            number = as_integer(key)
            if (
                number is None
                or number < 0
                or number in names
                or isinstance(name, bool)
                or not isinstance(name, str | int | float)
            ):
                raise self._record.error("names", f"a list of class names; {shown({key: name})} is none")
            if not str(name).strip():
                raise self._record.error("names", "a list of class names; one is empty")
            title = normal_form(str(name).strip())
            if title in names.values():
                self._notes.add(self.source, "class", "merged with another one of the same name", title)
            names[number] = title
        if self._record.has("nc") and self._record.integer("nc") != len(names):
            raise DataError(f"{self.source}: nc is {self._record.integer('nc')}, but it has {len(names)} names")
        return names

    def has(self, split: str) -> bool:
        """Return True if the YAML file names images of a split."""
        return any(self._record.has(key) for key in KEYS[split])

    def images(self, split: str) -> list[Path]:
        """Return the images of a split.

        Raises:
            DataError: a folder or list that is missing, or names nothing.
        """
        key = next((key for key in KEYS[split] if self._record.has(key)), split)
        value = self._record.get(key)
        found: list[Path] = []
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str) or not text.strip():
                raise self._record.error(key, "a folder, a list file, or several of them")
            found += self._images_of(text, key)
        if len(set(found)) < len(found):
            found = list(dict.fromkeys(found))
            self._notes.add(self.source, "image", f"named more than once by {key}, counted once")
        return found

    def without_held_out(self, images: Sequence[Path]) -> list[Path]:
        """Return the train images without val and test images, in case train is the parent folder of all splits.

        Images stay in train if val or test has the same images, as in small examples.
        """
        owner_of = {}
        for place, split in held_out([path.relative_to(self.root).as_posix() for path in images]).items():
            owner_of[images[place]] = split
        for split in ("val", "test"):
            try:
                others = set(self.images(split)) if self.has(split) else set()
            except DataError:  # reported when the split is read; many files name a test folder that is not there
                continue
            if others != set(images):
                owner_of |= dict.fromkeys(others, split)
        kept = []
        for path in images:
            if (split := owner_of.get(path, "train")) == "train":
                kept.append(path)
            else:
                self._notes.add(self.source, "image", f"left out of train, it belongs to the {split} split", path.name)
        if not kept:
            raise DataError(f"{self.source}: val and test hold all images of train: none is left to train on")
        return kept

    def _images_of(self, text: str, key: str) -> list[Path]:
        bases = [self._top, self.source.parent, self.root]
        folder = self._folder(text, bases)
        if folder is not None:
            return image_files(folder, self._notes)
        listing = self._file(text, bases)
        if listing is None or listing.suffix.lower() != ".txt":
            raise DataError(f"{self.source}: {key}: '{text}' is no folder and no list below {self.root}")
        found = []
        for line in read_lines(listing):
            image = self._file(line, [listing.parent, *bases])
            if image is None and line.startswith(COMMENT):
                continue
            if image is None or not is_image(image):
                raise DataError(f"{listing}: names '{line}', but there is no such image below {self.root}")
            found.append(image)
        return found

    def labels(self, images: Sequence[Path]) -> dict[Path, Path]:
        """Return the label file of each image; if it does not exist, the image is background.

        Raises:
            DataError: two images share a label file, or no image has one.
        """
        label_of = {image: label_path(image, self.root) for image in images}
        owner_of: dict[Path, Path] = {}
        for image, label in label_of.items():
            if (other := owner_of.setdefault(label, image)) != image:
                raise DataError(f"{image}: has the same label file as {other.name}: rename one of them")
        missing = [image for image, label in label_of.items() if not label.is_file()]
        if len(missing) == len(images):
            first = label_of[images[0]]
            raise DataError(f"{first}: no such file, nor labels of other images of {self.source}: complete the folder")
        for image in missing:
            self._notes.add(image.parent, "image", "without label file, taken as background", image.name)
        for folder in dict.fromkeys(label.parent for label in label_of.values()):
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                is_label = path.suffix.lower() == ".txt" and path.name.lower() not in OTHER_TEXTS
                if is_label and not is_hidden(path.name) and path not in owner_of:
                    self._notes.add(folder, "label file", "left out, it has no image", path.name)
        return label_of

    def _folder(self, text: str, bases: Sequence[Path]) -> Path | None:
        """Return the folder of a text relative to one of the bases; None if there is none below the root."""
        found = next((path for path in self._meant(text, bases) if path.is_dir()), None)
        return found or (self._folder_by_tail(text) if is_elsewhere(text.strip()) else None)

    def _file(self, text: str, bases: Sequence[Path]) -> Path | None:
        found = next((path for path in self._meant(text, bases) if path.is_file()), None)
        if found is None and is_elsewhere(text):
            try:
                found = self._files.find(text, self.source)
            except DataError:  # none or several files fit
                return None
        return found if found is not None and found.is_file() else None

    def _folder_by_tail(self, text: str) -> Path | None:
        """Find the folder that matches the end of another computer's path: "/content/data/train" becomes train.

        A single name, such as "images", is ambiguous unless it is the name of a split.
        """
        parts = parts_of(text)
        if os.path.isabs(text) and os.path.isdir(text):  # exists, but outside the root
            return None
        for place in range(1, len(parts)):
            rest = parts[place:]
            folder = self.root.joinpath(*rest)
            if ".." not in rest and folder.is_dir() and (len(rest) > 1 or rest[0].lower() in SPLIT_OF_NAME):
                return folder
        return None

    def _meant(self, text: str, bases: Sequence[Path]) -> list[Path]:
        """Return the possible paths of a text below the root. Roboflow's superfluous "../" at the start is dropped."""
        slashes = text.strip().replace("\\", "/")
        found = []
        for base in bases:
            for name in (slashes, slashes.removeprefix("../")):
                relative = os.path.relpath(os.path.join(base, name), self.root)
                try:
                    found.append(self._files.find(relative, self.source))
                except DataError:  # outside, or the root itself
                    if os.path.normpath(relative) == ".":
                        found.append(self.root)
        return found


def label_path(image: Path, root: Path) -> Path:
    """Return the label file of an image: in `labels` instead of the last folder `images`, or next to the image."""
    parts = list(image.relative_to(root).parts)
    folders = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    path = root.joinpath(*parts).with_suffix(".txt")
    upper = path.with_suffix(".TXT")
    return upper if upper.is_file() and not path.is_file() else path


def _yaml_file(root: Path, data: str) -> Path:
    """Raises:
    DataError: there is no such file, and not exactly one other.
    """
    path = Files(root).find(data, Path("dataset.data"))
    if path.is_file():
        return path
    others = [
        path for path in sorted(root.iterdir()) if path.suffix.lower() in YAML_SUFFIXES and not is_hidden(path.name)
    ]
    if len(others) != 1:
        raise DataError(f"{path}: no such file, and {len(others)} other YAML files beside it: set dataset.data")
    return others[0]
