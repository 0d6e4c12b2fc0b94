"""CamVid as published by its authors: 701 frames of 960 x 720, masks in 32 colors, grouped to SegNet's 11 classes.

Source: Brostow et al., "Semantic object classes in video", 2009. Layouts: ``701_StillsRaw_full/*.png`` and
``LabeledApproved_full/*_L.png``; or divided, ``train/*.png``, ``train_labels/*_L.png`` and likewise val and test. In
the first, frames are divided as in the SegNet tutorial (367, 101 and 233), whose lists follow the sequences.
"""

from pathlib import Path

from segnet.class_sets import CAMVID_CLASSES
from segnet.data.dataset import FileDataset
from segnet.data.datasets.labels import IGNORE, Labels
from segnet.data.datasets.pairing import first_folder, pair_folders, require_folder, require_root, require_split
from segnet.errors import DataError

# The colors of the 32 original classes by the class they join, as in MathWorks' DeepLabv3+ example after SegNet.
GROUPS: dict[str, list[tuple[int, int, int]]] = {
    "sky": [(128, 128, 128)],
    # bridge, building, wall, tunnel, archway
    "building": [(0, 128, 64), (128, 0, 0), (64, 192, 0), (64, 0, 64), (192, 0, 128)],
    "pole": [(192, 192, 128), (0, 0, 64)],  # column or pole, traffic cone
    "road": [(128, 64, 128), (128, 0, 192), (192, 0, 64)],  # road, markings of lanes and others
    "pavement": [(0, 0, 192), (64, 192, 128), (128, 128, 192)],  # sidewalk, parking block, road shoulder
    "tree": [(128, 128, 0), (192, 192, 0)],  # tree, other vegetation
    "sign": [(192, 128, 128), (128, 128, 64), (0, 64, 64)],  # sign or symbol, other text, traffic light
    "fence": [(64, 64, 128)],
    # car, SUV or pickup, truck or bus, train, other moving things
    "car": [(64, 0, 128), (64, 128, 192), (192, 128, 192), (192, 64, 128), (128, 64, 64)],
    # pedestrian, child, cart or luggage or pram, animal
    "pedestrian": [(64, 64, 0), (192, 128, 64), (64, 0, 192), (64, 128, 64)],
    "bicyclist": [(0, 128, 192), (192, 0, 192)],  # bicyclist, motorcycle or scooter
}
VOID = (0, 0, 0)
COLOR_MAP = [(*color, name) for name, colors in GROUPS.items() for color in colors] + [(*VOID, IGNORE)]


class CamVidOriginal(FileDataset):
    """CamVid in its original size and colors.

    Args:
        split: "train", "val" or "test".
        root: folder with ``701_StillsRaw_full`` and ``LabeledApproved_full``, or ``train`` and ``train_labels``.

    Raises:
        ConfigError: an unknown split.
        DataError: a folder that is missing or empty, files that do not pair, or a frame of an unknown sequence.
    """

    def __init__(self, split: str, root: str) -> None:
        require_split(split)
        folder = require_root(root)
        if (folder / "train_labels").is_dir():
            images = require_folder(folder / split, f"the {split} images of dataset.root")
            masks = require_folder(folder / f"{split}_labels", f"the {split} masks of dataset.root")
            pairs = pair_folders(images, masks, self.notes, mask_suffix="_L")
        else:
            images = first_folder([folder / "701_StillsRaw_full"], "CamVid's images")
            masks = first_folder([folder / "LabeledApproved_full"], "CamVid's masks")
            pairs = pair_folders(images, masks, self.notes, mask_suffix="_L")
            pairs = [pair for pair in pairs if split_of(pair[0]) == split]
            if not pairs:
                raise DataError(f"{images}: has no image of the {split} split: complete the folder")
        super().__init__(pairs, CAMVID_CLASSES, Labels(CAMVID_CLASSES, color_map=COLOR_MAP))


def split_of(image: Path) -> str:
    """Return the SegNet tutorial's split of a frame, from its sequence and number: 0001TP_008550 -> "test".

    Raises:
        DataError: a name of no sequence of CamVid.
    """
    sequence, _, frame = image.stem.partition("_")
    number = int(frame.lstrip("f")) if frame.lstrip("f").isdecimal() else -1
    if number >= 0:
        if sequence == "0006R0":
            return "train"
        if sequence == "Seq05VD":
            return "test"
        if sequence == "0001TP":
            return "train" if number <= 8520 else "test"
        if sequence == "0016E5":
            return "val" if 7959 <= number <= 8159 else "train"
    raise DataError(f"{image}: is not named like a frame of CamVid, such as 0001TP_006690.png")
