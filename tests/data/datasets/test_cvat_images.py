"""CVAT's export "CVAT for images 1.1": shapes of an XML file as masks."""

import re

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.cvat import cvat
from segnet.errors import ConfigError, DataError, SegnetError

HEIGHT, WIDTH = 20, 40
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH] + 0.5  # centers of pixels
BOX = (COLUMNS > 10) & (COLUMNS < 20) & (ROWS > 4) & (ROWS < 12)
SQUARE = '<polygon label="cat" points="10.00,4.00;20.00,4.00;20.00,12.00;10.00,12.00" z_order="0"/>'
LABELS = "".join(
    f"<label><name>{name}</name><color>#{color}</color><type>any</type>{more}</label>"
    for name, color, more in (
        ("cat", "fa3253", ""),
        ("dog", "32b7fa", ""),
        ("nose", "000001", "<parent>cat</parent>"),
    )
)


def write(
    root, *shapes: str, images: str = "", folder: str = "", size: str = f'width="{WIDTH}" height="{HEIGHT}"'
) -> None:
    """Two images with the same shapes, or these image elements."""
    for name in ("a", "b"):
        path = root / "images" / folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    elements = "".join(f'<image id="{n}" name="{"ab"[n]}.png" {size}>{"".join(shapes)}</image>' for n in (0, 1))
    meta = f"<meta><task><labels>{LABELS}</labels></task></meta>"
    (root / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}{images or elements}</annotations>'
    )


def mask_of(root, *shapes: str, **options) -> np.ndarray:
    write(root, *shapes)
    return cvat("train", str(root), **options).load(0).mask


def test_classes_and_colors_are_the_export_s(tmp_path):
    write(tmp_path, SQUARE)
    classes = cvat("train", str(tmp_path)).classes
    assert classes.names == ("background", "cat", "dog")
    assert classes.palette == ((0, 0, 0), (250, 50, 83), (50, 183, 250))


@pytest.mark.parametrize(
    "shape",
    [
        SQUARE,
        '<box label="cat" xtl="10" ytl="4" xbr="20" ybr="12"/>',
        '<box label="cat" xtl="11" ytl="3" xbr="19" ybr="13" rotation="90.0"/>',
        f'<mask label="cat" left="9" top="3" width="12" height="10" rle="13, {"10, 2, " * 7}10, 13"/>',
    ],
)
def test_shapes_are_drawn(tmp_path, shape):
    np.testing.assert_array_equal(mask_of(tmp_path, shape), BOX)


def test_ellipses_turn_clockwise_around_their_center(tmp_path):
    ellipse = '<ellipse label="dog" cx="20" cy="10" rx="9" ry="4" rotation="{}"/>'
    for degrees in (0, 30):
        turn = np.radians(degrees)
        along = (COLUMNS - 20) * np.cos(turn) + (ROWS - 10) * np.sin(turn)
        across = (ROWS - 10) * np.cos(turn) - (COLUMNS - 20) * np.sin(turn)
        expected = 2 * ((along / 9) ** 2 + (across / 4) ** 2 < 1)
        np.testing.assert_array_equal(mask_of(tmp_path, ellipse.format(degrees)), expected)


def test_a_higher_z_order_is_in_front_and_then_the_later_shape(tmp_path):
    everything = '<box label="dog" xtl="0" ytl="0" xbr="40" ybr="20" z_order="{}"/>'
    np.testing.assert_array_equal(mask_of(tmp_path, everything.format(-1), SQUARE), np.where(BOX, 1, 2))
    np.testing.assert_array_equal(mask_of(tmp_path, SQUARE, everything.format(-1)), np.where(BOX, 1, 2))
    assert (mask_of(tmp_path, SQUARE, everything.format(0)) == 2).all()


def test_labels_may_be_ignored(tmp_path):
    np.testing.assert_array_equal(mask_of(tmp_path, SQUARE, ignore=["cat"]), np.where(BOX, 255, 0))
    with pytest.raises(ConfigError, match=r"dataset\.ignore: 'cow' is not a label of the export"):
        mask_of(tmp_path, SQUARE, ignore=["cow"])


def test_shapes_without_area_are_counted(tmp_path):
    others = '<polyline label="cat" points="1,2;3,4"/><points label="cat" points="1,2"/><cuboid label="cat" xtl1="1"/>'
    write(tmp_path, others, '<skeleton label="cat"><points label="nose" points="1,2"/></skeleton><tag label="cat"/>')
    dataset = cvat("train", str(tmp_path))
    source = tmp_path / "annotations.xml"
    for tag in ("polyline", "cuboid", "skeleton", "tag"):
        assert f"{source}: 2 {tag}s left out, without an area: a.png, b.png" in dataset.notes.lines()
    assert (dataset.load(0).mask == 0).all()


def test_subsets_are_the_splits(tmp_path):
    for subset in ("Train", "Test"):
        write(tmp_path, folder=subset)
    images = "".join(
        f'<image id="{n}" name="{name}.png" subset="{subset}">{SQUARE if subset == "Test" else ""}</image>'
        for n, (subset, name) in enumerate([("Train", "a"), ("Train", "b"), ("Test", "a"), ("Test", "b")])
    )
    write(tmp_path, images=images)
    test, train = cvat("test", str(tmp_path)), cvat("train", str(tmp_path))
    assert [test.load(index).name for index in (0, 1)] == [str(tmp_path / f"images/Test/{n}.png") for n in "ab"]
    assert train.load(0).name.startswith(str(tmp_path / "images/Train"))
    assert (test.load(0).mask == BOX).all()
    assert len(train) == len(cvat("val", str(tmp_path))) == 1
    (tmp_path / "images/Test").rename(tmp_path / "images/night")
    write(tmp_path, images=images.replace("Test", "night"))
    with pytest.raises(
        DataError, match=r"annotations\.xml: the subset's name 'night' is not a split's: set .*,night\]"
    ):
        cvat("train", str(tmp_path))


def test_a_subset_in_folders_is_named_as_the_export_names_it(tmp_path):
    write(tmp_path, folder="a/night")
    images = "".join(f'<image id="{n}" name="{name}.png" subset="a/night"/>' for n, name in enumerate("ab"))
    write(tmp_path, images=images)
    assert len(cvat("val", str(tmp_path), subsets={"val": ["a/Night"]})) == 2


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ('<polygon label="cat" points="1,2;3,4"/>', "is a polygon of 2 points: correct or remove it"),
        ('<polygon label="cat" points="1,2;nan,4;5,6"/>', "has the point .* finite numbers"),
        ('<polygon label="cow" points="1,2;3,4;5,6"/>', "label 'cow' of .* is not in its <labels>: export"),
        ('<box label="cat" xtl="x" ytl="4" xbr="20" ybr="12"/>', "'xtl' of .* must be a finite number, not 'x'"),
        ('<mask label="cat" left="9" top="3" width="2" height="2" rle="1, 2"/>', "run lengths add up to 3 pixels"),
        ('<mask label="cat" left="9" top="3" width="2" height="2" rle="1, -2, 5"/>', "must be whole numbers from 0"),
        ('<mask label="cat" left="39" top="3" width="2" height="2" rle="4"/>', r"at \(39, 3\), outside of its image"),
        ('<mask label="cat" left="0" top="0" width="999999999" height="9" rle="4"/>', "outside of its image"),
    ],
)
def test_wrong_shapes_are_named(tmp_path, shape, message):
    with pytest.raises(DataError, match=message) as caught:
        mask_of(tmp_path, shape)
    assert str(tmp_path / "annotations.xml") in str(caught.value)


@pytest.mark.parametrize("size", ['width="9" height="20"', 'width="40" height="9"'])
def test_an_image_of_another_size_than_the_export_states_is_refused(tmp_path, size):
    write(tmp_path, SQUARE, size=size)
    with pytest.raises(DataError, match=r"images/[ab]\.png") as caught:
        cvat("train", str(tmp_path)).load(0)
    assert "40 x 20" in str(caught.value)


def test_coordinates_far_outside_are_cut_off(tmp_path):
    assert (mask_of(tmp_path, '<polygon label="cat" points="-1000000000,-9;1000000000,-9;9,1000000000"/>') == 1).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("{}", "is not valid XML"),
        ("<annotations><image></annotations>", "is not valid XML"),
        ("<annotations></annotations>", "names no class"),
        ("<annotation></annotation>", "its top element is <annotation>, not <annotations>"),
        ("<annotations><track/></annotations>", "has tracks of a video: export"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><annotations>&a;</annotations>', "has a document type declaration"),
        ("<annotations>" + "<a>" * 200 + "</a>" * 200 + "</annotations>", "is nested too deeply"),
    ],
)
def test_files_that_are_none_are_refused(tmp_path, text, message):
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(DataError, match=rf"annotations\.xml: {message}"):
        cvat("train", str(tmp_path))


def test_any_value_in_any_attribute(tmp_path):
    """Read right, or refused in one line that names a file of the dataset."""
    shapes = (SQUARE, '<box label="dog" xtl="1" ytl="2" xbr="3" ybr="4" rotation="5" z_order="1"/>')
    write(tmp_path, *shapes, '<mask label="cat" left="9" top="3" width="2" height="2" rle="1, 2, 1"/>')
    source = tmp_path / "annotations.xml"
    text = source.read_text()
    first = text.index("<image")
    values = ("", " ", "x", "-1", "0", "1e9", "999999999999", "nan", "../../a.png", "a;b,c", "1,2;3,4;5,6")
    problems = []
    for place in re.finditer(r'(?<=[a-z])="[^"]*"', text[first:]):
        for value in values:
            source.write_text(f'{text[: first + place.start()]}="{value}"{text[first + place.end() :]}')
            try:
                cvat("train", str(tmp_path)).load(0)
            except SegnetError as error:
                problems.append(error)
    assert problems
    for problem in problems:
        assert problem.exit_code == 3
        assert str(tmp_path) in str(problem)
        assert "\n" not in str(problem)
