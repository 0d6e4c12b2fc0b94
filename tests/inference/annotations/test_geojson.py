"""GeoJSON of regions."""

import json

import numpy as np

from segnet.classes import Classes
from segnet.inference.annotations.geojson import geojson
from segnet.inference.polygons import find_polygons

CLASSES = Classes.create(["a", "b", "c"], [[1, 2, 3], [200, 100, 0], [0, 0, 255]])


def test_geojson_closes_its_rings_and_names_the_class():
    mask = np.zeros((5, 5), np.uint8)
    mask[1:4, 1:4], mask[2, 2] = 1, 0
    document = json.loads(json.dumps(geojson(find_polygons(mask, [1]), CLASSES)))
    [feature] = document["features"]
    exterior, hole = feature["geometry"]["coordinates"]
    assert exterior[0] == exterior[-1]
    assert hole[0] == hole[-1]
    assert feature["properties"] == {"class": "b", "class_id": 1, "area": 8, "color": "#c86400"}
