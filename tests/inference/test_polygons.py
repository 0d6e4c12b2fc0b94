"""Outlines are exact: areas equal pixel counts, including holes and touching corners."""

import json

import cv2
import numpy as np
import pytest

from segnet.classes import Classes
from segnet.data.datasets.json_records import Record
from segnet.data.datasets.outlines import draw_shape, points_of
from segnet.inference.polygons import coco, find_polygons, geojson, labelme, ring_area, run_lengths

CLASSES = Classes.create(["a", "b", "c"], [[1, 2, 3], [200, 100, 0], [0, 0, 255]])


def filled(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels with centers inside a ring, by counting edges to the left: an independent rasterizer."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (np.minimum(y1, y2) < y) & (y < np.maximum(y1, y2))
            inside ^= crosses & (x1 + (y - y1) * (x2 - x1) / (y2 - y1) < x)
    return inside


@pytest.mark.parametrize("seed", range(20))
def test_outlines_enclose_exactly_the_pixels_of_their_class(seed):
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 16, 2))
    mask = rng.integers(0, 3, size)
    if seed % 2:
        mask = np.kron(mask, np.ones((3, 2), int))
    for class_id in range(3):
        where = mask == class_id
        found = find_polygons(mask, [class_id])
        assert len(found) == cv2.connectedComponents(where.astype(np.uint8), connectivity=4)[0] - 1
        painted = np.zeros(mask.shape, int)
        for polygon in found:
            area = filled(polygon.exterior, mask.shape)
            for hole in polygon.holes:
                area &= ~filled(hole, mask.shape)
                assert ring_area(hole) < 0
            assert polygon.area == area.sum()
            painted += area
        np.testing.assert_array_equal(painted, where)


def test_a_region_inside_a_hole_is_separate():
    mask = np.zeros((9, 9), np.uint8)
    mask[1:8, 1:8], mask[2:7, 2:7], mask[4, 4] = 1, 0, 1
    ring, island = find_polygons(mask, [1])
    assert (ring.area, len(ring.holes)) == (49 - 25, 1)
    assert ring.exterior.tolist() == [[1, 1], [8, 1], [8, 8], [1, 8]]
    assert (island.area, island.exterior.tolist(), island.holes) == (1, [[4, 4], [5, 4], [5, 5], [4, 5]], ())


def test_simplification_reduces_corners_and_keeps_the_area():
    y, x = np.mgrid[:100, :100]
    mask = ((x - 50) ** 2 + (y - 50) ** 2 < 40**2).astype(np.uint8)
    [exact], [simple] = find_polygons(mask, [1]), find_polygons(mask, [1], tolerance=1.5)
    assert len(simple.exterior) < len(exact.exterior) / 4
    assert simple.area == pytest.approx(exact.area, rel=0.05)


def test_geojson_closes_its_rings_and_names_the_class():
    mask = np.zeros((5, 5), np.uint8)
    mask[1:4, 1:4], mask[2, 2] = 1, 0
    document = json.loads(json.dumps(geojson(find_polygons(mask, [1]), CLASSES)))
    [feature] = document["features"]
    exterior, hole = feature["geometry"]["coordinates"]
    assert exterior[0] == exterior[-1]
    assert hole[0] == hole[-1]
    assert feature["properties"] == {"class": "b", "class_id": 1, "area": 8, "color": "#c86400"}


@pytest.mark.parametrize("seed", range(10))
def test_pycocotools_decodes_the_rle(seed, tmp_path):
    pycocotools = pytest.importorskip("pycocotools.coco", reason="pycocotools is an optional package")
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 3, tuple(rng.integers(1, 12, 2)))
    path = tmp_path / "a.json"
    path.write_text(json.dumps(coco(mask, [0, 1, 2], CLASSES, "a.png")))
    dataset = pycocotools.COCO(str(path))
    seen = set()
    for annotation in dataset.loadAnns(dataset.getAnnIds()):
        where = mask == annotation["category_id"] - 1
        np.testing.assert_array_equal(dataset.annToMask(annotation), where)
        assert annotation["area"] == where.sum()
        left, top, width, height = annotation["bbox"]
        assert where[top : top + height, left : left + width].sum() == where.sum()
        assert where[top].any()
        assert where[:, left].any()
        seen.add(annotation["category_id"] - 1)
    assert seen == set(np.unique(mask).tolist())


def test_run_lengths_start_with_the_count_of_false():
    assert run_lengths(np.array([[1, 0], [1, 1]], bool)) == [0, 2, 1, 1]
    assert run_lengths(np.array([[0, 0], [1, 1]], bool)) == [1, 1, 1, 1]
    assert run_lengths(np.zeros((2, 2), bool)) == [4]


def test_labelme_polygons_reproduce_the_mask_with_holes():
    mask = np.zeros((60, 80), np.uint8)
    mask[5:50, 5:60], mask[15:40, 15:50], mask[20:30, 20:30] = 1, 0, 2
    mask[5:20, 62:78] = 2
    found = find_polygons(mask, [0, 1, 2])
    document = labelme(found, CLASSES, mask.shape, "a.png")
    for shape, polygon in zip(
        document["shapes"], sorted(found, key=lambda polygon: -ring_area(polygon.exterior)), strict=True
    ):
        ring = np.array(shape["points"])
        assert ring_area(ring) == polygon.area
        area = filled(polygon.exterior, mask.shape)
        for hole in polygon.holes:
            area &= ~filled(hole, mask.shape)
        np.testing.assert_array_equal(filled(ring, mask.shape), area)
    painted = np.zeros(mask.shape, np.uint8)
    for shape in document["shapes"]:  # like the labelme reader
        record = Record(shape, "a.json")
        where = draw_shape(mask.shape, shape["shape_type"], points_of(record), record)
        painted[where] = CLASSES.names.index(shape["label"])
    assert (painted == mask).mean() > 0.9  # labelme draws outlines one pixel wide
