"""Predictions of Label Studio: accepted without a change, dataset=label_studio reads the predicted mask."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from difficult_masks import CLASSES, NO_BACKGROUND, assert_same_masks, read_back, segmentations, write_images

from segnet.classes import Classes
from segnet.data.datasets.label_studio import LabelStudio
from segnet.inference.annotations.label_studio import label_studio_task, labeling_config


@pytest.mark.parametrize("classes", [CLASSES, NO_BACKGROUND])
def test_masks_are_read_back_bit_for_bit(tmp_path, classes):
    results = segmentations(classes)
    names = write_images(tmp_path / "images", results)
    tasks = []
    for number, (name, result) in enumerate(zip(names, results, strict=True), start=1):
        task = label_studio_task(f"/data/local-files/?d=images/{name}.png", result.to_label_studio(), "best.ckpt")
        [prediction] = task.pop("predictions")
        # As Label Studio exports an annotation that was made of the prediction.
        tasks.append({"id": number, **task, "annotations": [{"id": number, "result": prediction["result"]}]})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    splits = [LabelStudio(split, str(tmp_path), list(classes.names)) for split in ("train", "val")]
    assert_same_masks(read_back(splits, classes, tmp_path / "images"), names, results)


def test_scores_are_mean_probabilities():
    result = segmentations(CLASSES, probabilities=True)[0]
    prediction = result.to_label_studio()
    best = result.probabilities.max(axis=0).astype(np.float64)
    assert prediction["score"] == pytest.approx(best.mean(), abs=1e-4)
    regions = {region["value"]["brushlabels"][0]: region["score"] for region in prediction["result"]}
    assert regions == {
        name: pytest.approx(best[result.mask == i].mean(), abs=1e-4) for i, name in [(1, "a"), (2, "b b")]
    }
    assert "score" not in segmentations(CLASSES)[0].to_label_studio()


def test_regions_fit_the_labeling_interface():
    classes = Classes.create(['a "b" <c>', "background"], [[255, 0, 16], [0, 0, 0]])
    image, brush = ElementTree.fromstring(labeling_config(classes))
    assert (image.get("name"), image.get("value")) == ("image", "$image")
    [label] = brush
    assert (label.get("value"), label.get("background")) == ('a "b" <c>', "#ff0010")
    [region] = segmentations(CLASSES)[1].to_label_studio()["result"]
    assert (region["from_name"], region["to_name"]) == (brush.get("name"), brush.get("toName"))
    assert (region["original_height"], region["original_width"], region["image_rotation"]) == (7, 9, 0)
