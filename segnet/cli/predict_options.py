"""The options of `segnet predict`."""

import argparse
from collections.abc import Sequence

from segnet.choices import DEFAULT_WINDOW, IMAGE_KINDS, PREDICTION_PRECISIONS, RUNTIMES, SAVE_KINDS
from segnet.cli.arguments import (
    CHECKPOINT_HELP,
    DEVICE_HELP,
    PRECISION_HELP,
    RUNTIME_HELP,
    Parser,
    add_checkpoints,
    split_checkpoints,
    split_models,
)
from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.inference.refinement import Refinement

EPILOG = """\
inputs
  img.png photos/ "scans/**/*.tif"   files, folders and their subfolders, globs
  clip.mp4  0                        a video; a camera by its number, until Ctrl-C
  https://host/img.png               an image from the web
  -                                  the bytes of an image from stdin
  @list.txt                          the files in a list, as --list

kinds of --save
  mask           NAME_mask.png           class ids, with the class colors as palette; NAME_mask.tif with a page of
                                         0 and 255 per class, if classes may overlap (task=multilabel)
  overlay        NAME_overlay.png        the image blended with the class colors; NAME_overlay.mp4 for a video
  colors         NAME_colors.png         the class colors
  confidence     NAME_confidence.png     the probability of each pixel's class, 0-255
  probabilities  NAME_probabilities.npz  of all classes, float16 (classes, height, width), with the class names
  geojson        NAME.geojson            polygons with holes, in pixels
  coco           coco.json               all images in COCO's format, with run-length encoding (RLE)
  labelme        NAME.json               polygons for labelme
  yolo           yolo/                   polygons in YOLO's format: labels/train/NAME.txt, data.yaml, train.txt
  cvat           cvat.zip                masks for CVAT: "Segmentation mask 1.1"; NAME_cvat.zip for a video
  label-studio   label_studio.json       tasks with brush labels for Label Studio
  csv            shares.csv              the fraction of each class in each input of the output folder
"""
THRESHOLD_HELP = (
    "probability from which a pixel gets a class, such as disk=0.3; of several the largest ratio wins; default: the "
    "most probable class"
)
REFUSE_HELP = "pixels whose largest probability is below get the ignored label, 0-1; default: 0 (none)"
MIN_AREA_HELP = (
    "smallest region, such as 50 or 50,disk=10; smaller ones get the class of their surroundings [pixels]; default: 0"
)
SMOOTH_HELP = (
    "weight of the earlier frames in a moving average over a video, 0-0.99; 0.7 hides flicker and shows a change one "
    "frame late; default: 0 (none)"
)
SIMPLIFY_HELP = "largest distance between a simplified polygon and the outline [pixels]; default: 0"
LOCAL_FILES = "/data/local-files/?d="
LABEL_STUDIO_ROOT_HELP = (
    "folder that Label Studio serves, its LOCAL_FILES_DOCUMENT_ROOT; addresses of images are relative to it; default: "
    "the current folder"
)
LABEL_STUDIO_URL_HELP = f"address of that folder, such as s3://bucket/; default: {LOCAL_FILES}"
SCALES_HELP = "test-time augmentation: average over scales, such as 0.5 1 1.5; default: 1"


def build_parser() -> Parser:
    """Build the parser of `segnet predict`."""
    parser = Parser(
        prog="segnet predict",
        description="Segments images, videos and GeoTIFF scenes. Finished results are kept: run an interrupted "
        "command again to resume it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="*", metavar="IMAGE", help="inputs to segment, see below")
    add("--list", action="append", default=[], metavar="FILE", help="a list of files, one per line; - is stdin")
    add("--root", metavar="FOLDER", help="folder that contains the files of a list; default: the list's folder")
    add_checkpoints(parser, CHECKPOINT_HELP)
    add("--output", default="predictions", metavar="FOLDER", help="default: predictions")
    add(
        "--save",
        type=kinds_of(SAVE_KINDS),
        default=("mask", "overlay"),
        metavar="KIND,...",
        help="default: mask,overlay",
    )
    add(
        "--save-frames",
        type=kinds_of(IMAGE_KINDS),
        default=(),
        metavar="KIND,...",
        help="results to save for each frame of a video, such as NAME/000001_mask.png; default: none",
    )
    add("--classes", action="append", default=[], metavar="NAME,...", help="classes to draw; default: all")
    add("--simplify", type=float, default=0.0, metavar="PIXELS", help=SIMPLIFY_HELP)
    add("--label-studio-root", default=".", metavar="FOLDER", help=LABEL_STUDIO_ROOT_HELP)
    add("--label-studio-url", default=LOCAL_FILES, metavar="URL", help=LABEL_STUDIO_URL_HELP)
    add("--flip", action="store_true", help="test-time augmentation: average with the prediction of the mirrored image")
    add("--scales", type=float, nargs="+", default=[1.0], metavar="FACTOR", help=SCALES_HELP)
    add_refinement(parser)
    add("--smooth", type=float, default=0.0, metavar="WEIGHT", help=SMOOTH_HELP)
    add(
        "--window",
        type=int,
        metavar="PIXELS",
        help=f"side of the sliding windows on large images [pixels]; default: {DEFAULT_WINDOW}",
    )
    add("--batch-size", type=int, default=1, metavar="N", help="images of equal size per batch; default: 1")
    add("--device", help=DEVICE_HELP)
    add("--runtime", choices=RUNTIMES, help=RUNTIME_HELP)
    add("--precision", choices=PREDICTION_PRECISIONS, help=PRECISION_HELP)
    add("--shard", metavar="I/N", help="process the i-th of n parts of the inputs, to share them among machines")
    add("--overwrite", action="store_true", help="replace existing results")
    add("--private-urls", action="store_true", help="follow redirects of URLs into this machine's own network")
    add("--max-megapixels", type=int, default=179, metavar="N", help="largest image [megapixels]; default: 179")
    add("--max-frames", type=int, default=0, metavar="N", help="most frames of a video or camera; default: all")
    add("--scene", action="store_true", help="read GeoTIFFs window by window, write georeferenced NAME_mask.tif")
    return parser


def add_refinement(parser: argparse.ArgumentParser) -> None:
    """Add the options of a refinement: `read_refinement` reads their values."""
    add = parser.add_argument
    add("--threshold", action="append", default=[], metavar="CLASS=P,...", help=THRESHOLD_HELP)
    add("--refuse", type=float, default=0.0, metavar="P", help=REFUSE_HELP)
    add("--min-area", action="append", default=[], metavar="PIXELS,...", help=MIN_AREA_HELP)


def read_refinement(options: argparse.Namespace) -> Refinement:
    """The refinement of parsed options.

    Raises:
        ConfigError: a value is out of its range, or not of the form CLASS=NUMBER.
    """
    return Refinement.read(threshold=options.threshold, refuse=options.refuse, min_area=options.min_area)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        ConfigError: an unknown option, or a value out of its range.
    """
    options: argparse.Namespace = build_parser().parse_args(arguments)
    more, named = split_checkpoints(options.checkpoint)
    inputs, models = split_models(options.inputs)
    options.inputs, options.checkpoint = [*inputs, *more], [*models, *named]
    options.refinement = read_refinement(options)
    _check_ranges(options)
    return options


def _check_ranges(options: argparse.Namespace) -> None:
    for name, least in (("batch_size", 1), ("max_megapixels", 1), ("max_frames", 0)):
        if getattr(options, name) < least:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(options, name)} must be {least} or more")
    if not 0 <= options.simplify < float("inf"):
        raise ConfigError(f"--simplify {options.simplify:g} must be 0 pixels or more")
    if not 0 <= options.smooth <= 0.99:
        raise ConfigError(f"--smooth {options.smooth:g} must be the weight of earlier frames, 0-0.99")
    if "cvat" in options.save_frames:
        raise ConfigError("--save-frames cvat: CVAT takes one archive for a video: use --save cvat")
    if options.scene and options.save != ("mask", "overlay"):
        raise ConfigError("--scene writes only the mask: remove --save")


class kinds_of:
    """Converts "mask,csv" into a tuple of names.

    Args:
        kinds: the allowed names.
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = kinds

    def __call__(self, text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        for name in names:
            if name not in self._kinds:
                raise argparse.ArgumentTypeError(f"'{name}' is unknown.{did_you_mean(name, self._kinds)}")
        if not names:
            raise argparse.ArgumentTypeError(f"name at least one of {', '.join(self._kinds)}")
        return names
