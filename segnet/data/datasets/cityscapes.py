"""Cityscapes: 2048 x 1024 street scenes, 19 classes for training out of 34 labels.

Source: Cordts et al., "The Cityscapes dataset for semantic urban scene understanding", 2016; labels: cityscapesScripts,
helpers/labels.py. Layout: ``leftImg8bit/{train,val,test}/CITY/*_leftImg8bit.png`` and
``gtFine/{train,val,test}/CITY/*_gtFine_labelIds.png``. The masks of the test split are not public: its files are void.
"""

from segnet.class_sets import CITYSCAPES_CLASSES
from segnet.data.dataset import FileDataset
from segnet.data.datasets.labels import IGNORE, Labels
from segnet.data.datasets.pairing import pair_folders, require_folder, require_root, require_split

# The label ids of the 19 classes, in the order of their train ids; all others of 0-33 are not evaluated.
EVALUATED_LABELS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
NUM_CITYSCAPES_LABELS = 34
CITYSCAPES_ID_MAP = {
    label: EVALUATED_LABELS.index(label) if label in EVALUATED_LABELS else IGNORE
    for label in range(NUM_CITYSCAPES_LABELS)
}


class Cityscapes(FileDataset):
    """Cityscapes with fine annotations.

    Args:
        split: "train", "val" or "test".
        root: folder with ``leftImg8bit`` and ``gtFine``.

    Raises:
        ConfigError: an unknown split.
        DataError: a folder that is missing or empty, or files that do not pair.
    """

    def __init__(self, split: str, root: str) -> None:
        require_split(split)
        folder = require_root(root)
        images = require_folder(folder / "leftImg8bit" / split, f"the {split} images of dataset.root")
        masks = require_folder(folder / "gtFine" / split, f"the {split} masks of dataset.root")
        pairs = pair_folders(images, masks, self.notes, "_leftImg8bit", "_gtFine_labelIds")
        super().__init__(pairs, CITYSCAPES_CLASSES, Labels(CITYSCAPES_CLASSES, CITYSCAPES_ID_MAP))
