"""Accuracy of a backbone's ImageNet weights on a folder of images, for comparison with the published figure.

    python benchmarks/imagenet_accuracy.py --backbone resnet50_vd --weights timm/resnet50d.ra2_in1k --images val

The folder holds one folder of images per class. Sorted by name they are the classes 0, 1, ..., as n01440764, n01443537,
... are for ImageNet-1k. Images are prepared as torchvision and timm do it: the shorter side becomes --resize with
Pillow's filter, then the center is cropped. A published figure holds for the resize, crop and interpolation that it was
measured with. PaddleClas resizes with OpenCV, which does not smooth: expect a difference of some tenths of a percent.
Images are rotated upright by EXIF, which those projects do not do; this concerns a handful of ImageNet's validation
images.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from classifier import ImageNetClassifier
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.cli.composition import composed
from segnet.config import Config
from segnet.errors import CheckpointError, ConfigError, DataError, ExitCode
from segnet.images.files import read_image
from segnet.images.formats import IMAGE_SUFFIXES
from segnet.inference.runtimes.pytorch import choose_device
from segnet.weights.load import load_backbone_weights, read_weights
from segnet.weights.names import split, translate_backbone

INTERPOLATIONS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True, slots=True)
class Preparation:
    """Preprocessing of an image.

    Attributes:
        resize: length of the shorter side after resizing [pixels].
        crop: side of the center crop [pixels].
        interpolation: a key of INTERPOLATIONS.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"

    def __call__(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 RGB, 0-255 -> (3, crop, crop) uint8."""
        short, long = sorted(image.shape[:2])
        height, width = (self.resize if side == short else int(self.resize * long / short) for side in image.shape[:2])
        resized = Image.fromarray(image).resize((width, height), INTERPOLATIONS[self.interpolation])
        top, left = round((height - self.crop) / 2), round((width - self.crop) / 2)
        cropped = resized.crop((left, top, left + self.crop, top + self.crop))
        return torch.from_numpy(np.array(cropped).transpose(2, 0, 1).copy())


class LabeledImages(Dataset[tuple[Tensor, int]]):
    """Preprocessed images with their class ids.

    Args:
        samples: path and class id of each image.
    """

    def __init__(self, samples: Sequence[tuple[Path, int]], prepare: Preparation) -> None:
        self.samples = samples
        self.prepare = prepare

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        return self.prepare(read_image(path)), label


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the accuracy; return exit code 0."""
    options = parse(arguments)
    prepare = Preparation(options.resize, options.crop, options.interpolation)
    classifier = load_classifier(options.backbone, options.weights)
    samples = list_samples(Path(options.images), classifier.head.out_features, options.class_list)
    device = choose_device(options.device)
    classifier.to(device)
    loader = DataLoader(LabeledImages(samples, prepare), options.batch_size, num_workers=options.num_workers)
    top1, top5 = measure(classifier, loader, device)
    print(
        f"{options.backbone}, {options.weights}: {len(samples)} images of {len({label for _, label in samples})} "
        f"classes, --resize {prepare.resize} --crop {prepare.crop} --interpolation {prepare.interpolation}"
    )
    print(f"top-1 {100 * top1 / len(samples):.2f} %, top-5 {100 * top5 / len(samples):.2f} %")
    return ExitCode.OK


def load_classifier(backbone: str, source: str) -> ImageNetClassifier:
    """Build a backbone of conf/backbone at output stride 32 with all weights of a classifier.

    Raises:
        ConfigError: unknown backbone. CheckpointError: the weights do not fit, or lack the linear layer.
        MachineError: the weights cannot be downloaded.
    """
    if backbone == "timm":
        raise ConfigError("--backbone timm: timm measures its models itself, with its validate.py")
    spec = composed("train", Config, [f"backbone={backbone}", "output_stride=32"]).backbone
    weights = read_weights(source)
    _, head = translate_backbone(weights, spec["depths"])
    if weights.mean is None or weights.std is None:
        raise CheckpointError(f"{source}: does not contain the mean and std that it was trained with")
    num_classes = {"num_classes": head["weight"].shape[0]} if "weight" in head else {}
    classifier = ImageNetClassifier(backbone=spec, mean=weights.mean, std=weights.std, **num_classes)
    load_backbone_weights(classifier.backbone, replace(weights, state=split(weights)[0]))
    classifier.load_head(head, source)
    return classifier.eval()


def list_samples(folder: Path, num_classes: int, class_list: str | None) -> list[tuple[Path, int]]:
    """All images below `folder`, with their class ids.

    Args:
        num_classes: number of classes of the weights.
        class_list: file with the class of each folder; None: the sorted folders are all classes.

    Raises:
        DataError: no such folder, no images, or folders that do not match the classes.
    """
    if not folder.is_dir():
        raise DataError(f"--images {folder}: no such folder")
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    if class_list is not None:
        ids = read_class_list(class_list, num_classes)
    elif len(folders) == num_classes:
        ids = {path.name: index for index, path in enumerate(folders)}
    else:
        raise DataError(
            f"--images {folder}: holds {len(folders)} folders, but the weights have {num_classes} classes: name all of "
            "these in --class-list FILE, or give a folder for each"
        )
    samples = []
    for path in folders:
        if path.name not in ids:
            raise DataError(f"{path}: is not a class of --class-list {class_list}")
        images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise DataError(f"{path}: holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        samples += [(file, ids[path.name]) for file in images]
    if not samples:
        raise DataError(f"--images {folder}: holds no folder: it needs one for each class")
    return samples


def read_class_list(path: str, num_classes: int) -> dict[str, int]:
    """Read the class list: the first word of each line is a name, in the order of ids. Return name -> id.

    Raises:
        DataError: the file cannot be read, or does not name each class once.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--class-list {path}: cannot be read ({error})") from None
    names = [line.split()[0] for line in text.splitlines() if line.strip()]
    if len(names) != num_classes:
        raise DataError(f"--class-list {path}: names {len(names)} classes, but the weights have {num_classes}")
    ids = {name: index for index, name in enumerate(names)}
    if len(ids) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"--class-list {path}: names {twice} more than once")
    return ids


@torch.inference_mode()
def measure(
    classifier: ImageNetClassifier, loader: DataLoader[tuple[Tensor, int]], device: torch.device
) -> tuple[int, int]:
    """Number of images with a correct top-1, and a correct top-5 prediction."""
    first = among_five = 0
    console = Console(stderr=True)
    for images, labels in track(loader, "measuring", console=console, disable=not console.is_terminal):
        logits = classifier(images.to(device))
        ranked = logits.topk(min(5, logits.shape[1])).indices.cpu() == labels[:, None]
        first += int(ranked[:, 0].sum())
        among_five += int(ranked.sum())
    return first, among_five


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        ConfigError: an invalid option.
    """
    parser = Parser(prog="imagenet_accuracy.py", description="Measures top-1 and top-5 accuracy on a folder of images.")
    parser.add_argument("--backbone", required=True, metavar="NAME", help="of conf/backbone, such as resnet50_vd")
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="file, URL or name on the hub, with the linear layer",
    )
    parser.add_argument("--images", required=True, metavar="FOLDER", help="folder with one folder of images per class")
    parser.add_argument("--resize", type=int, default=256, help="length of the shorter side [pixels]; default: 256")
    parser.add_argument("--crop", type=int, default=224, help="side of the center crop [pixels]; default: 224")
    parser.add_argument("--interpolation", choices=sorted(INTERPOLATIONS), default="bilinear")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-workers", type=int, default=4, help="processes that read images; default: 4")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: a GPU if there is one")
    parser.add_argument(
        "--class-list",
        metavar="FILE",
        help="all classes of the weights, one per line in the order of their ids, the name of the folder first; "
        "with it, folders may be missing",
    )
    options = parser.parse_args(arguments)
    for option, value, least in (
        ("--crop", options.crop, 1),
        ("--batch-size", options.batch_size, 1),
        ("--num-workers", options.num_workers, 0),
    ):
        if value < least:
            raise ConfigError(f"{option} {value}: must be {least} or more")
    if options.resize < options.crop:
        raise ConfigError(f"--resize {options.resize}: is below --crop {options.crop}")
    return options


if __name__ == "__main__":
    end_process(main)
