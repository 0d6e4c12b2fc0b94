"""Visualization: class colors, sheets, and curves from Lightning's metrics.csv."""

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.images.drawing import DOUBT, colorize, comparison, contact_sheet, doubt_map, legend, overlay, plot_curves

PALETTE = [[200, 10, 20], [30, 210, 40], [50, 60, 220]]
CLASSES = Classes.create(["road", "tree", "sky"], PALETTE)
WHITE = (255, 255, 255)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_ids_map_to_class_colors_and_unknown_ids_to_white(dtype):
    mask = np.array([[0, 1, 2], [3, 254, 255]], dtype)
    image = colorize(mask, CLASSES)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, [PALETTE, [WHITE] * 3])


def test_ids_far_above_the_classes_are_white():
    assert (colorize(np.array([[65535, 70000]], np.int32), CLASSES) == 255).all()


def test_negative_ids_are_white():
    assert (colorize(np.array([[-1, -3]], np.int32), CLASSES) == 255).all()


@pytest.mark.parametrize(("opacity", "share"), [(0.0, 0), (0.25, 0.25), (1.0, 1)])
def test_overlay_blends_image_and_colors(opacity, share):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    mask = np.random.default_rng(1).integers(0, 3, (5, 7))
    before = image.copy()
    mixed = overlay(image, mask, CLASSES, opacity)
    assert (mixed.dtype, mixed.shape) == (np.uint8, image.shape)
    np.testing.assert_allclose(mixed, (1 - share) * image + share * np.array(PALETTE)[mask], atol=0.51)
    np.testing.assert_array_equal(image, before)


def test_the_default_opacity_is_one_half():
    mixed = overlay(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), CLASSES)
    assert mixed[0, 0].tolist() == [100, 5, 10]


@pytest.mark.parametrize("width", [90, 120, 300, 2000])
def test_legend_shows_every_color_in_the_given_width(width):
    image = legend(CLASSES, width)
    assert image.shape[1:] == (width, 3)
    for color in PALETTE:
        assert (image == color).all(axis=2).sum() > 100  # most of a 14 x 14 swatch


def test_a_narrow_legend_wraps():
    wide, middle, narrow = (legend(CLASSES, width) for width in (2000, 170, 90))
    assert wide.shape[0] < middle.shape[0] < narrow.shape[0]


def test_a_legend_of_many_classes_keeps_its_width():
    many = Classes.create([f"a class named {number}" for number in range(40)], ignore_index=255)
    image = legend(many, 400)
    assert (image[:, -4:] == 255).all()
    for color in many.palette:
        assert (image == color).all(axis=2).any()


def test_comparison_has_a_row_per_image():
    def row(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return (
            np.full((height, width, 3), (9, 8, 7), np.uint8),
            np.zeros((height, width), np.uint8),
            np.full((height, width), 2, np.uint8),
        )

    one = comparison([row(50, 100)], CLASSES, width=100)
    two = comparison([row(50, 100), row(40, 20)], CLASSES, width=100)
    assert (one.dtype, one.shape[2]) == (np.uint8, 3)
    assert one.shape[1] == two.shape[1] >= 300
    assert 200 <= two.shape[0] - one.shape[0] <= 210  # the height of the second image is twice its width
    shares = [(one == color).all(axis=2).sum() for color in ((9, 8, 7), PALETTE[0], PALETTE[2])]
    assert shares[0] == 50 * 100
    assert all(50 * 100 < share < 50 * 100 + 400 for share in shares[1:])  # plus the swatch in the legend
    center = one[26 + 25]
    assert [center[x].tolist() for x in (50, 160, 260)] == [[9, 8, 7], PALETTE[0], PALETTE[2]]


def test_comparison_shrinks_masks_without_interpolation():
    mask = np.indices((64, 64)).sum(axis=0) % 2 * 2  # a checkerboard of classes 0 and 2
    sheet = comparison([(np.zeros((64, 64, 3), np.uint8), mask, mask)], CLASSES, width=30)
    strip = sheet[26 : 26 + 30, 42:72].reshape(-1, 3)
    assert {tuple(color) for color in strip.tolist()} <= {tuple(PALETTE[0]), tuple(PALETTE[2])}


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1)])
def test_comparison_accepts_images_of_one_pixel(size):
    sheet = comparison([(np.zeros((*size, 3), np.uint8), np.zeros(size, int), np.ones(size, int))], CLASSES, width=20)
    assert sheet.shape[1] > 60


def test_contact_sheet_has_four_columns_and_the_colors_of_the_masks():
    image, crop = np.zeros((50, 100, 3), np.uint8), np.zeros((100, 100, 3), np.uint8)
    row = (image, np.zeros((50, 100), np.uint8), crop, np.full((100, 100), 2, np.uint8))
    sheet = contact_sheet([row], CLASSES, width=100)
    assert sheet.shape[1] == 4 * 100 + 5 * 6
    line = sheet[26 + 25]
    shown = [line[x].astype(int) for x in (50, 160, 260, 370)]
    for color, expected in zip(shown, ((0, 0, 0), PALETTE[0], (0, 0, 0), PALETTE[2]), strict=True):
        np.testing.assert_allclose(color, 0.65 * np.array(expected), atol=1)
    assert (sheet[26 + 75, 160] == 255).all()  # below an image that is shorter than its crop


def test_curves_are_plotted_from_a_table_with_blank_cells(tmp_path):
    (tmp_path / "metrics.csv").write_text(
        "epoch,lr,step,train/loss,val/loss,val/miou\n"
        "0,0.05,9,1.5,,\n"
        "0,,19,,1.2,0.31\n"
        "1,0.04,29,0.9,,\n"
        "1,,39,,0.8,0.52\n"
    )
    plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 300
        drawn = np.asarray(image.convert("RGB"))
    (tmp_path / "metrics.csv").write_text("epoch,lr,step,train/loss,val/loss,val/miou\n")
    plot_curves(tmp_path / "metrics.csv", tmp_path / "empty.png")
    with Image.open(tmp_path / "empty.png") as image:
        empty = np.asarray(image.convert("RGB"))
    colorful = [int((np.ptp(pixels.astype(int), axis=2) > 40).sum()) for pixels in (drawn, empty)]
    assert colorful[0] > colorful[1] + 500  # the curves


def test_curves_accept_missing_columns(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,step,train/loss\n0,9,1.5\n0,19,nan\n")
    plot_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", "x" * 5000, "$\\frac", "\u202ea"])
def test_a_legend_accepts_any_class_name(name):
    assert legend(Classes.create([name, "b"]), 300).shape[1:] == (300, 3)


def test_doubt_is_red_over_dark_gray_with_white_boxes():
    image = np.full((8, 10, 3), 200, np.uint8)
    doubt = np.zeros((8, 10))
    doubt[0, 0] = 1
    drawn = doubt_map(image, doubt, [(4, 3, 3, 2)])
    assert tuple(drawn[0, 0]) == DOUBT
    assert tuple(drawn[7, 9]) == (100, 100, 100)
    assert tuple(drawn[2, 3]) == (255, 255, 255)  # the box surrounds the region
    assert tuple(drawn[3, 4]) == (100, 100, 100)
    assert (image == 200).all()


def test_overlapping_classes_have_their_mean_color_and_outlines():
    classes = Classes.create(["disk", "ring"], [[200, 0, 0], [0, 100, 0]], task="multilabel")
    planes = np.zeros((2, 12, 16), np.uint8)
    planes[0, 1:9, 1:9] = 1
    planes[1, 3:11, 4:14] = 1
    planes[1, 0, 0] = 255  # ignored
    colors = colorize(planes, classes)
    assert colors[2, 2].tolist() == [200, 0, 0]
    assert colors[5, 6].tolist() == [100, 50, 0]  # both
    assert colors[6, 11].tolist() == [0, 100, 0]
    assert colors[0, 0].tolist() == [255, 255, 255]
    assert colors[3, 6].tolist() == [0, 100, 0]  # the outline of the ring, inside of the disk
    image = np.full((12, 16, 3), 50, np.uint8)
    mixed = overlay(image, planes, classes, 0.5)
    assert mixed[5, 6].tolist() == [75, 50, 25]
    assert mixed[3, 6].tolist() == [0, 100, 0]
    assert (mixed[11] == 50).all()  # no class
    assert (image == 50).all()
