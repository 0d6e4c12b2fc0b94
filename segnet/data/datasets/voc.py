"""PASCAL VOC 2012: 20 classes and background; 255 marks outlines of objects; with the augmented training list.

Source: Everingham et al., "The PASCAL visual object classes challenge", 2010, in the layout of its development kit:
``JPEGImages/*.jpg``, ``SegmentationClass/*.png`` (palette), ``ImageSets/Segmentation/{train,val,trainval}.txt``.
Augmented: Hariharan et al., "Semantic contours from inverse detectors", 2011; its masks are in
``SegmentationClassAug/*.png``, its list of 10,582 images is ``trainaug.txt`` (or ``train_aug.txt``, or ``aug.txt`` with
the images that ``train.txt`` lacks). Masks of VOC itself take precedence.
"""

from pathlib import Path, PureWindowsPath

from segnet.class_sets import VOC_CLASSES
from segnet.data.dataset import FileDataset
from segnet.data.datasets.lists import named_pairs
from segnet.data.datasets.pairing import by_key, first_folder, image_files, require_root, require_split
from segnet.data.datasets.text_files import read_lines
from segnet.errors import DataError


class PascalVOC(FileDataset):
    """PASCAL VOC 2012.

    Args:
        split: "train", "val" or "trainval"; the masks of the test split are not public.
        root: ``VOC2012``, or a folder that contains it or ``VOCdevkit/VOC2012``.
        augmented: whether to use the augmented training split.

    Raises:
        ConfigError: an unknown split.
        DataError: a folder or file that is missing.
    """

    def __init__(self, split: str, root: str, augmented: bool = False) -> None:
        require_split(split, ("train", "val", "trainval"))
        top = require_root(root)
        images = first_folder(
            [top / place / "JPEGImages" for place in (".", "VOC2012", "VOCdevkit/VOC2012")], "VOC's images"
        )
        masks = first_folder([images.parent / "SegmentationClass"], "VOC's masks")
        lists = images.parent / "ImageSets" / "Segmentation"
        mask_of = by_key(image_files(masks, self.notes), masks)
        if augmented and split == "train":
            more_masks = first_folder([images.parent / "SegmentationClassAug"], "the masks of dataset.augmented")
            mask_of = by_key(image_files(more_masks, self.notes), more_masks) | mask_of
            listing, names = augmented_list(lists)
        else:
            listing = lists / f"{split}.txt"
            names = read_lines(listing)
        image_of = by_key(image_files(images, self.notes), images)
        super().__init__(named_pairs(listing, names, image_of, mask_of, images), VOC_CLASSES)


def augmented_list(folder: Path) -> tuple[Path, list[str]]:
    """Return the list of the augmented training split, and its names.

    Raises:
        DataError: there is no such list.
    """
    for name in ("trainaug.txt", "train_aug.txt"):
        if (folder / name).is_file():
            # Some lists contain paths of image and mask, which share the image's name.
            lines = read_lines(folder / name)
            return folder / name, [PureWindowsPath(line.split()[0]).stem for line in lines]
    if (folder / "aug.txt").is_file():
        names = [*read_lines(folder / "train.txt"), *read_lines(folder / "aug.txt")]
        return folder / "aug.txt", list(dict.fromkeys(names))
    raise DataError(f"{folder / 'trainaug.txt'}: no such file, nor train_aug.txt, nor aug.txt (dataset.augmented)")
