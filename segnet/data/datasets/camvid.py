"""CamVid, in the layout of the SegNet tutorial: 480 x 360 street scenes, 11 classes, 11 = unlabeled.

Source: Brostow et al., "Semantic object classes in video", 2009; split, classes and colors: SegNet (arXiv 1511.00561).
Layout: ``train.txt`` lists the images, which lie in ``train/``, their masks in ``trainannot/``; likewise val and test.
The paths inside the lists begin with the tutorial author's own folder, so only their file names count.
"""

from pathlib import Path, PurePosixPath

from segnet.class_sets import CAMVID_CLASSES
from segnet.data.dataset import FileDataset
from segnet.data.datasets.pairing import pair_folders, read_lines, require_folder, require_root, require_split
from segnet.errors import DataError


class CamVid(FileDataset):
    """CamVid in the SegNet tutorial's layout.

    Args:
        split: "train", "val" or "test".
        root: folder that holds ``train.txt``, ``train/``, ``trainannot/`` and so on.

    Raises:
        ConfigError: an unknown split.
        DataError: a folder or file that is not there.
    """

    def __init__(self, split: str, root: str) -> None:
        require_split(split)
        folder = require_root(root)
        images = require_folder(folder / split, f"the {split} images of dataset.root")
        masks = require_folder(folder / f"{split}annot", f"the {split} masks of dataset.root")
        listing = folder / f"{split}.txt"
        pairs = pair_folders(images, masks)
        if listing.is_file():
            by_stem = {image.stem: (image, mask) for image, mask in pairs}
            stems = listed_stems(listing)
            missing = [stem for stem in stems if stem not in by_stem]
            if missing:
                raise DataError(
                    f"{listing}: names {len(missing)} images that are not in {images}, first '{missing[0]}': "
                    "complete the folder or correct the list"
                )
            pairs = [by_stem[stem] for stem in stems]
        super().__init__(pairs, CAMVID_CLASSES)


def listed_stems(listing: Path) -> list[str]:
    """The images' names without folder and ending, in the order of the list; the first word of each line counts."""
    return [PurePosixPath(line.split()[0]).stem for line in read_lines(listing)]
