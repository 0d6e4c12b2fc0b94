"""Visualization: colorized masks, overlays, comparison sheets, training curves."""

import csv
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segnet.classes import Classes
from segnet.errors import printable
from segnet.images.files import UInt8Array

CAPTION_LENGTH = 40  # longest class name in a legend [characters]
IGNORED = (255, 255, 255)  # color of pixels without a class
OUTLINES_PER_SIDE = 400  # width of an outline, as a fraction of the longer side of an image
DOUBT = (235, 40, 30)  # color of doubtful pixels


def colorize(mask: NDArray[np.integer], classes: Classes) -> UInt8Array:
    """Map class ids (H, W) to class colors (H, W, 3) uint8 RGB; unknown ids become white.

    In planes (classes, H, W) a pixel has the mean color of its classes, and outlines have the color of their class;
    pixels without a class are white.
    """
    if classes.is_multilabel:
        return _outlined(_mean_colors(mask, classes), mask, classes)
    table = np.array([*classes.palette, IGNORED], np.uint8)
    num_classes = len(classes.names)
    return table[np.where((mask >= 0) & (mask < num_classes), mask, num_classes)]


def overlay(image: UInt8Array, mask: NDArray[np.integer], classes: Classes, opacity: float = 0.5) -> UInt8Array:
    """Blend an image with the class colors of a mask.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) class ids, or planes (classes, H, W), whose outlines are opaque.
        opacity: opacity of the colors, 0-1.
    """
    if classes.is_multilabel:
        mixed = np.asarray(cv2.addWeighted(image, 1 - opacity, _mean_colors(mask, classes), opacity, 0), np.uint8)
        return _outlined(np.where((mask == 1).any(axis=0)[:, :, None], mixed, image), mask, classes)
    return np.asarray(cv2.addWeighted(image, 1 - opacity, colorize(mask, classes), opacity, 0), np.uint8)


def _mean_colors(planes: NDArray[np.integer], classes: Classes) -> UInt8Array:
    """The mean color of each pixel's classes (H, W, 3); white without a class."""
    total = np.zeros((*planes.shape[1:], 3), np.float32)
    count = np.zeros(planes.shape[1:], np.float32)
    for plane, color in zip(planes, classes.palette, strict=True):
        total[plane == 1] += np.array(color, np.float32)
        count += plane == 1
    mean = np.rint(total / np.maximum(count, 1)[:, :, None])
    return np.where(count[:, :, None] > 0, mean, np.array(IGNORED, np.float32)).astype(np.uint8)


def _outlined(image: UInt8Array, planes: NDArray[np.integer], classes: Classes) -> UInt8Array:
    """Draw the outline of each class in its color, inside of its regions, onto a copy of an image."""
    image = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / OUTLINES_PER_SIDE))
    kernel = np.ones((2 * thickness + 1, 2 * thickness + 1), np.uint8)
    for plane, color in zip(planes, classes.palette, strict=True):
        region = (plane == 1).astype(np.uint8)
        image[(region > cv2.erode(region, kernel))] = color
    return image


def legend(classes: Classes, width: int) -> UInt8Array:
    """Draw a legend of class names and colors, wrapped to `width`: (h, width, 3) uint8 RGB."""
    font = ImageFont.load_default(size=14)
    pad, swatch, row_height = 8, 14, 24
    places, x, y = [], pad, 5
    names = [_caption(name) for name in classes.names]
    for name in names:
        extent = swatch + 5 + int(font.getlength(name)) + 2 * pad
        if x + extent > width and x > pad:
            x, y = pad, y + row_height
        places.append((x, y))
        x += extent
    image = Image.new("RGB", (width, y + row_height), "white")
    pen = ImageDraw.Draw(image)
    for (x, y), name, color in zip(places, names, classes.palette, strict=True):
        pen.rectangle((x, y, x + swatch, y + swatch), fill=tuple(color), outline="black")
        pen.text((x + swatch + 5, y + swatch // 2), name, fill="black", font=font, anchor="lm")
    return np.array(image)


def _caption(name: str) -> str:
    """A class name on one line, truncated: Pillow cannot measure several lines, and long names would not fit."""
    name = printable(name)
    return name if len(name) <= CAPTION_LENGTH else f"{name[: CAPTION_LENGTH - 1]}…"


def comparison(
    rows: Sequence[tuple[UInt8Array, NDArray[np.integer], NDArray[np.integer]]], classes: Classes, width: int = 256
) -> UInt8Array:
    """Draw a sheet with one row per (image, truth, prediction), headings and a legend.

    Args:
        rows: images (H, W, 3) uint8 RGB with masks (H, W); sizes may differ between rows.
        width: width of each image on the sheet [pixels].

    Returns:
        (h, w, 3) uint8 RGB.
    """
    images = [(image, colorize(truth, classes), colorize(prediction, classes)) for image, truth, prediction in rows]
    return sheet(images, ("image", "truth", "prediction"), (1, 2), classes, width)


def contact_sheet(
    rows: Sequence[tuple[UInt8Array, NDArray[np.integer], UInt8Array, NDArray[np.integer]]],
    classes: Classes,
    width: int = 256,
) -> UInt8Array:
    """Draw a sheet with one row per (image, mask, augmented image, augmented mask), headings and a legend.

    Args:
        rows: images (H, W, 3) uint8 RGB with masks (H, W); the augmented ones may have another size.
        width: width of each image on the sheet [pixels].

    Returns:
        (h, w, 3) uint8 RGB.
    """
    images = [
        (image, overlay(image, mask, classes, 0.65), augmented, overlay(augmented, augmented_mask, classes, 0.65))
        for image, mask, augmented, augmented_mask in rows
    ]
    return sheet(images, ("image", "mask", "augmented image", "augmented mask"), (), classes, width)


def doubt_map(
    image: UInt8Array, doubt: NDArray[np.floating], boxes: Sequence[tuple[int, int, int, int]] = ()
) -> UInt8Array:
    """Draw doubt in red over a dark gray image, with white boxes around regions.

    Args:
        image: (H, W, 3) uint8 RGB.
        doubt: (H, W), 0-1.
        boxes: (left, top, width, height) of each region [pixels].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[:, :, None] / 2
    opacity = doubt.astype(np.float32)[:, :, None]
    drawn = np.rint(gray * (1 - opacity) + np.array(DOUBT, np.float32) * opacity).astype(np.uint8)
    for left, top, width, height in boxes:
        corner = (min(left + width, image.shape[1] - 1), min(top + height, image.shape[0] - 1))
        cv2.rectangle(drawn, (max(0, left - 1), max(0, top - 1)), corner, (255, 255, 255), 1)
    return drawn


def sheet(
    rows: Sequence[Sequence[UInt8Array]],
    headings: Sequence[str],
    nearest: Collection[int],
    classes: Classes,
    width: int,
) -> UInt8Array:
    """Draw rows of images with headings and a legend.

    Args:
        rows: images (H, W, 3) uint8 RGB, one for each heading.
        nearest: columns to resize without interpolation.
        width: width of each image on the sheet [pixels].

    Returns:
        (h, w, 3) uint8 RGB.
    """
    gap = 6
    total = len(headings) * width + (len(headings) + 1) * gap
    heading = Image.new("RGB", (total, 26), "white")
    pen = ImageDraw.Draw(heading)
    for column, title in enumerate(headings):
        center = gap + column * (width + gap) + width // 2
        pen.text((center, 13), title, fill="black", font=ImageFont.load_default(size=16), anchor="mm")
    strips = [np.array(heading)]
    for images in rows:
        heights = [max(1, round(width * image.shape[0] / image.shape[1])) for image in images]
        strip = np.full((max(heights) + gap, total, 3), 255, np.uint8)
        for column, (image, height) in enumerate(zip(images, heights, strict=True)):
            way = cv2.INTER_NEAREST if column in nearest or width > image.shape[1] else cv2.INTER_AREA
            left = gap + column * (width + gap)
            strip[:height, left : left + width] = cv2.resize(image, (width, height), interpolation=way)
        strips.append(strip)
    strips.append(legend(classes, total))
    return np.vstack(strips)


def plot_curves(metrics: Path, target: Path) -> None:
    """Plot loss, learning rate and mIoU over steps from Lightning's metrics.csv to a PNG."""
    from matplotlib.figure import Figure  # late: takes 0.5 s, and prediction does not need it

    with open(metrics, newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))

    def series(name: str) -> tuple[list[int], list[float]]:
        points = [(int(r["step"]), float(r[name])) for r in records if r.get(name)]
        scale = 100 if name == "val/miou" else 1
        return [step for step, _ in points], [scale * value for _, value in points]

    figure = Figure(figsize=(12, 3.6))
    # Margins for tick labels of 8 characters. A computed layout draws everything twice, and takes as long again.
    figure.subplots_adjust(left=0.06, right=0.99, bottom=0.14, top=0.91, wspace=0.3)
    panels = (
        ("loss", (("train/loss", "train"), ("train/consistency_loss", "consistency"), ("val/loss", "val"))),
        ("mIoU [%]", (("val/miou", "val"),)),
        ("learning rate", (("lr", ""),)),
    )
    for axes, (title, curves) in zip(figure.subplots(1, 3), panels, strict=True):
        for name, label in curves:
            steps, values = series(name)
            if name == "train/consistency_loss" and not steps:  # no unlabeled images
                continue
            axes.plot(steps, values, label=label, marker="." if len(steps) < 60 else None)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if len(curves) > 1:
            axes.legend()
    figure.axes[1].set_ylim(0, 100)
    figure.savefig(target, dpi=100)
