"""COCO-Stuff: 80 things and 91 stuff classes as pixel maps over COCO's images of 2017; 255 is ignored.

Source: Caesar et al., "COCO-Stuff: thing and stuff classes in context", 2018. Layout of stuffthingmaps_trainval2017:
``train2017/*.jpg`` (or ``images/train2017``) and ``stuffthingmaps/train2017/*.png`` (or ``annotations/train2017``), in
which a label is COCO's category id minus 1. Of 182 ids, 11 things were never annotated.
"""

from segnet.class_sets import COCO_STUFF_CLASSES
from segnet.data.dataset import FileDataset
from segnet.data.datasets.labels import IGNORE, Labels
from segnet.data.datasets.pairing import by_key, first_folder, image_files, refuse_missing, require_root, require_split

# street sign, hat, shoe, eye glasses, plate, mirror, window, desk, door, blender, hair brush
NEVER_ANNOTATED = (11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90)
NUM_COCO_LABELS = 182
OTHER_MAPS = ("_labelTrainIds", "_instanceTrainIds")  # written by mmsegmentation's converter
ANNOTATED_LABELS = tuple(label for label in range(NUM_COCO_LABELS) if label not in NEVER_ANNOTATED)
COCO_STUFF_ID_MAP = {**{label: index for index, label in enumerate(ANNOTATED_LABELS)}, 255: IGNORE}


class COCOStuff(FileDataset):
    """COCO-Stuff's 171 classes.

    Args:
        split: "train" or "val".
        root: folder of images and pixel maps.

    Raises:
        ConfigError: an unknown split.
        DataError: a folder or file that is missing.
    """

    def __init__(self, split: str, root: str) -> None:
        require_split(split, ("train", "val"))
        folder, name = require_root(root), f"{split}2017"
        images = first_folder([folder / name, folder / "images" / name], f"the {split} images of dataset.root")
        masks = first_folder(
            [folder / "stuffthingmaps" / name, folder / "annotations" / name], f"the {split} masks of dataset.root"
        )
        image_of = by_key(image_files(images, self.notes), images)
        # The folder may also contain other maps, such as mmsegmentation's; only maps of images are used.
        files = [path for path in image_files(masks, self.notes) if not path.stem.endswith(OTHER_MAPS)]
        mask_of = by_key(files, masks)
        for key in mask_of.keys() - image_of.keys():
            self.notes.add(masks, "mask", "left out, without image", mask_of[key].name)
        pairs = [(path, mask_of.get(key, masks / f"{key}.png")) for key, path in image_of.items()]
        refuse_missing(pairs, images)
        super().__init__(pairs, COCO_STUFF_CLASSES, Labels(COCO_STUFF_CLASSES, COCO_STUFF_ID_MAP))
