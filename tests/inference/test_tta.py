"""Averages over flips, scales and windows, compared with a NumPy reference."""

import cv2
import numpy as np
import pytest
import torch
from tiny import components
from torch import Tensor

from segnet.errors import ConfigError
from segnet.images.windows import Mosaic
from segnet.inference.tta import Inference, argmax_classes, rescale_images
from segnet.models.segmentation_model import SegmentationModel

NUM_CLASSES = 4


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    torch.manual_seed(0)
    return SegmentationModel(**components(), num_classes=NUM_CLASSES, mean=[0.5] * 3, std=[0.5] * 3).eval()


def noise(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@torch.inference_mode()
def predicted(model: SegmentationModel, image: np.ndarray) -> np.ndarray:
    """Logits (H, W, classes) of one image."""
    return model(tensor(image)[None])[0].permute(1, 2, 0).numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0, 1.75)])
def test_probabilities_are_averaged_over_flips_and_scales(model, flip, scales):
    image = noise(33, 46)
    one_by_one = []
    for scale in scales:
        size = (round(46 * scale), round(33 * scale))
        other = rescale_images(tensor(image)[None], scale)[0].permute(1, 2, 0).numpy()
        assert other.shape[1::-1] == size
        for mirrored in (False, True) if flip else (False,):
            logits = predicted(model, other[:, ::-1] if mirrored else other)
            logits = logits[:, ::-1] if mirrored else logits
            one_by_one.append(softmax(cv2.resize(logits, (46, 33), interpolation=cv2.INTER_LINEAR)))
    expected = np.mean(one_by_one, axis=0).transpose(2, 0, 1)
    result = Inference(flip=flip, scales=scales)(model, tensor(image)[None])[0]
    np.testing.assert_allclose(result, expected, atol=2e-5)
    assert len(one_by_one) == len(scales) * (1 + flip)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(2, 1, 40, 30), (1, 15, 700, 90), (3, 16, 300, 200), (2, 200, 37, 81)])
def test_softmax_is_accurate_in_any_layout(size, dtype, layout):
    torch.manual_seed(0)
    logits = (torch.randn(size, dtype=dtype) * 30).contiguous(memory_format=layout)
    expected = softmax(logits.movedim(1, -1).numpy()).transpose(0, 3, 1, 2)
    result = Inference()(lambda images: logits, torch.zeros(size[0], 3, *size[2:]))
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_softmax_of_channels_last_logits_is_in_place():
    logits = torch.randn(1, 19, 64, 64).contiguous(memory_format=torch.channels_last)
    result = Inference()(lambda images: logits, torch.zeros(1, 3, 64, 64))
    assert result.data_ptr() == logits.data_ptr()


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.25, 1.75])
def test_images_are_resized_like_in_training(scale):
    image = noise(40, 60)
    expected = cv2.resize(image, (round(60 * scale), round(40 * scale)), interpolation=cv2.INTER_LINEAR)
    result = rescale_images(tensor(image)[None], scale)
    assert result.dtype == torch.uint8
    difference = np.abs(result[0].permute(1, 2, 0).numpy().astype(int) - expected)
    assert difference.max() <= 1  # OpenCV uses 11-bit fixed point
    fractions = torch.from_numpy(image[None, ..., 0].astype(np.float32))[None] / 3
    assert rescale_images(fractions, scale).dtype == torch.float32


def test_an_image_of_one_pixel_keeps_its_size():
    assert rescale_images(torch.zeros(1, 3, 1, 1, dtype=torch.uint8), 0.25).shape == (1, 3, 1, 1)


def blended(model: SegmentationModel, image: np.ndarray, window: int, overlap: float) -> np.ndarray:
    """The weighted sum of the probabilities of all windows at full size, divided by the sum of weights."""
    height, width = image.shape[:2]
    total, weights = np.zeros((height, width, NUM_CLASSES)), np.zeros((height, width, 1))
    ramps = [np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) for n in (min(window, height), min(window, width))]
    for place in {place for place, _ in Mosaic((height, width), window, overlap)}:
        rows, columns = place.within()
        weight = np.outer(*ramps)[..., None]
        total[rows, columns] += weight * softmax(predicted(model, image[rows, columns]))
        weights[rows, columns] += weight
    return (total / weights).transpose(2, 0, 1)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(
    ("size", "window", "overlap"), [((70, 90), 32, 0.25), ((20, 330), 32, 0.25), ((65, 64), 40, 0.6), ((64, 64), 32, 0)]
)
def test_windows_equal_the_full_size_blend(model, size, window, overlap, batch_size):
    image = noise(*size)
    inference = Inference(window=window, overlap=overlap, batch_size=batch_size)
    result = inference(model, tensor(image)[None])[0]
    np.testing.assert_allclose(result, blended(model, image, window, overlap), atol=2e-5)


def test_small_images_are_predicted_without_windows(model):
    image = tensor(noise(30, 40))[None]
    expected = Inference()(model, image)
    torch.testing.assert_close(Inference(window=40)(model, image), expected)
    torch.testing.assert_close(expected, model(image).softmax(dim=1))


def test_tta_is_applied_to_each_window(model):
    images = torch.stack([tensor(noise(32, 64, seed=seed)) for seed in (1, 2)])
    together = Inference(window=32, overlap=0, flip=True, scales=[1, 1.5])(model, images)
    alone = Inference(flip=True, scales=[1, 1.5])
    expected = torch.cat([alone(model, images[..., :32]), alone(model, images[..., 32:])], dim=3)
    torch.testing.assert_close(together, expected)


def test_blended_windows_have_no_seams():
    """The model returns the distance of a pixel from the left end of its window; blending must avoid jumps."""

    def model(images: Tensor) -> Tensor:
        distance = torch.linspace(-2, 2, images.shape[3]).expand(len(images), 1, *images.shape[2:])
        return torch.cat([distance, -distance], dim=1)

    result = Inference(window=64, overlap=0.5)(model, torch.zeros(1, 3, 64, 256, dtype=torch.uint8))[0, 0, 0]
    within = Inference()(model, torch.zeros(1, 3, 64, 64, dtype=torch.uint8))[0, 0, 0]
    assert result.diff().abs().max() <= 2 * within.diff().abs().max()
    apart = Inference(window=64, overlap=0)(model, torch.zeros(1, 3, 64, 256, dtype=torch.uint8))[0, 0, 0]
    assert apart.diff().abs().max() > 0.9  # without blending it jumps


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": []}, r"scales=\[\]"),
        ({"scales": [1.0, 0.0]}, r"scales=\[1.0, 0.0\]"),
        ({"scales": [float("nan")]}, "scales"),
        ({"scales": [1e6]}, "at most 16"),
        ({"window": 0}, "window=0"),
        ({"window": 15}, "window=15 must be 16 or more"),
        ({"overlap": 1.0}, "overlap=1.0"),
        ({"overlap": -0.1}, "overlap=-0.1"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        Inference(**options)


@pytest.mark.parametrize("classes", [1, 2, 19, 255, 256, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_argmax_returns_the_first_of_ties(monkeypatch, classes, dtype, channels_last):
    monkeypatch.setattr("segnet.inference.tta.AT_ONCE", classes * 17 * 5)  # five rows at a time
    scores = torch.randint(-40, 40, (2, classes, 13, 17), generator=torch.Generator().manual_seed(0)).to(dtype)
    scores[:, :, 3] = -torch.inf  # ties
    scores[:, classes // 2, 4] = torch.inf
    if channels_last:
        scores = scores.contiguous(memory_format=torch.channels_last)
    expected = scores.double().numpy().argmax(axis=1)  # numpy: "the indices corresponding to the first occurrence"
    np.testing.assert_array_equal(argmax_classes(scores), expected)
    np.testing.assert_array_equal(argmax_classes(scores[1, :, 2:9, 5:]), expected[1, 2:9, 5:])


def test_nan_scores_give_a_valid_class():
    scores = torch.full((3, 2, 2), torch.nan)
    scores[1:, 0] = 1
    assert argmax_classes(scores).max() < 3
