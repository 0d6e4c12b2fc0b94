"""ADE20K, the scene parsing benchmark of 2016: 150 classes; 0 in the masks is "other" and ignored.

Source: Zhou et al., "Scene parsing through ADE20K dataset", 2017. Layout of ADEChallengeData2016:
``images/{training,validation}/*.jpg`` and ``annotations/{training,validation}/*.png``.
"""

from segnet.class_sets import ADE20K_CLASSES
from segnet.data.dataset import FileDataset
from segnet.data.datasets.labels import IGNORE, Labels
from segnet.data.datasets.pairing import first_folder, pair_folders, require_folder, require_root, require_split

FOLDERS = {"train": "training", "val": "validation"}
ADE20K_ID_MAP = {0: IGNORE, **{index + 1: index for index in range(len(ADE20K_CLASSES.names))}}


class ADE20K(FileDataset):
    """ADE20K's 150 classes.

    Args:
        split: "train" or "val".
        root: ``ADEChallengeData2016``, or the folder that contains it.

    Raises:
        ConfigError: an unknown split.
        DataError: a folder that is missing or empty, or files that do not pair.
    """

    def __init__(self, split: str, root: str) -> None:
        require_split(split, tuple(FOLDERS))
        top = require_root(root)
        images = first_folder([top / "images", top / "ADEChallengeData2016" / "images"], "ADE20K's images")
        image_folder = require_folder(images / FOLDERS[split], f"the {split} images of dataset.root")
        masks = images.parent / "annotations" / FOLDERS[split]
        pairs = pair_folders(image_folder, require_folder(masks, f"the {split} masks of dataset.root"), self.notes)
        super().__init__(pairs, ADE20K_CLASSES, Labels(ADE20K_CLASSES, ADE20K_ID_MAP))
