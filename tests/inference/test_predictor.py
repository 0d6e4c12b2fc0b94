import copy
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import assert_same_classes, components

from segnet.classes import Classes, voc_palette
from segnet.errors import CheckpointError, ConfigError, DataError, MachineError
from segnet.images.windows import Window
from segnet.inference.predictor import Predictor
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.inference.tta import Inference
from segnet.models.checkpoint import save_checkpoint, store_temperature
from segnet.models.segmentation_model import SegmentationModel
from segnet.models.temperature import UNCALIBRATED

SPEC = {
    **components(),
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def checkpoint(path, num_classes, bias=None):
    torch.manual_seed(1)
    spec = {**copy.deepcopy(SPEC), "num_classes": num_classes}
    model = SegmentationModel(**spec)
    if bias is not None:
        torch.nn.init.zeros_(model.decoder.classifier.weight)
        model.decoder.classifier.bias.data = torch.tensor(bias, dtype=torch.float32)
    classes = Classes.create([f"c{i}" for i in range(num_classes)], voc_palette(num_classes), 65535)
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    save_checkpoint({"state_dict": weights, "hyper_parameters": {"model": spec, "classes": classes.to_dict()}}, path)
    return model.eval(), classes


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (17, 3), (33, 65)])
def test_masks_have_the_size_of_the_image(tmp_path, size):
    checkpoint(tmp_path / "a.ckpt", 4)
    mask = Predictor(tmp_path / "a.ckpt", "cpu")(np.full((*size, 3), 77, np.uint8)).mask
    assert mask.shape == size
    assert mask.dtype == np.uint8


@torch.inference_mode()
def test_the_mask_is_the_argmax_of_the_logits(tmp_path):
    model, classes = checkpoint(tmp_path / "a.ckpt", 4)
    predictor = Predictor(tmp_path / "a.ckpt", "cpu")
    assert predictor.classes == classes
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    logits = model(torch.tensor(image).permute(2, 0, 1)[None])
    expected = logits[0].argmax(dim=0).numpy()
    assert len(np.unique(expected)) > 1
    assert_same_classes(predictor(image).mask, expected)
    assert_same_classes(predictor(image[:, ::-1][:, ::-1]).mask, expected)  # a view works too


@pytest.mark.parametrize(("num_classes", "dtype"), [(256, np.uint8), (300, np.uint16)])
def test_more_than_256_classes_use_uint16(tmp_path, num_classes, dtype):
    bias = np.zeros(num_classes)
    bias[-1] = 1
    checkpoint(tmp_path / "a.ckpt", num_classes, bias)
    mask = Predictor(tmp_path / "a.ckpt", "cpu")(np.zeros((5, 6, 3), np.uint8)).mask
    assert mask.dtype == dtype
    assert (mask == num_classes - 1).all()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", "meta2"])
def test_an_unavailable_device_is_reported_in_one_line(tmp_path, device):
    checkpoint(tmp_path / "a.ckpt", 2)
    kind, way_out = (MachineError, "see segnet doctor|GPUs") if device == "cuda:99" else (ConfigError, "cuda:N or mps")
    with pytest.raises(kind, match=f"device '{device}' cannot be used.*({way_out})") as error:
        Predictor(tmp_path / "a.ckpt", device)
    assert "\n" not in str(error.value)


def test_a_missing_checkpoint_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        Predictor(tmp_path / "none.ckpt")


@pytest.fixture
def path(tmp_path):
    checkpoint(tmp_path / "a.ckpt", 4)
    return tmp_path / "a.ckpt"


def noise(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def reference(path, image: np.ndarray, **options) -> np.ndarray:
    """Reference probabilities (classes, H, W)."""
    model, _ = checkpoint(path, 4)
    return Inference(**options)(model, torch.tensor(image).permute(2, 0, 1)[None])[0].numpy()


def test_all_image_types_give_equal_masks(path, tmp_path):
    image = noise(40, 56)
    Image.fromarray(image).save(tmp_path / "a.png")
    predictor = Predictor(path, "cpu")
    expected = predictor(image)
    np.testing.assert_array_equal(expected.image, image)
    for form in (tmp_path / "a.png", Image.fromarray(image), image / 255, torch.tensor(image).permute(2, 0, 1)):
        np.testing.assert_array_equal(predictor(form).mask, expected.mask)


def test_probabilities_are_returned_on_request(path):
    image = noise(40, 56)
    assert Predictor(path, "cpu")(image).probabilities is None
    for options in ({}, {"window": 32}):
        result = Predictor(path, "cpu", **options)(image, probabilities=True)
        assert result.probabilities.dtype == np.float16
        expected = reference(path, image, **options)
        np.testing.assert_allclose(result.probabilities, expected, atol=1e-3)
        assert_same_classes(result.mask, expected.argmax(axis=0))


@pytest.mark.parametrize(
    "options", [{"flip": True, "scales": (0.5, 1.25)}, {"window": 32}, {"window": 24, "flip": True}]
)
def test_options_match_inference(path, options):
    image = noise(40, 100)
    expected = reference(path, image, **options).argmax(axis=0)
    assert (Predictor(path, "cpu")(image).mask != expected).any()
    assert_same_classes(Predictor(path, "cpu", **options)(image).mask, expected)


@pytest.mark.parametrize("options", [{}, {"flip": True, "scales": (0.75, 1.0)}, {"window": 32}])
@pytest.mark.parametrize("values", [[2.5], [0.4, 1.0, 2.0, 3.0]])
def test_a_temperature_changes_probabilities_but_no_bit_of_a_mask(path, options, values):
    image = noise(40, 100)
    plain = Predictor(path, "cpu", **options)
    before, mask = plain(image, probabilities=True), plain(image).mask
    store_temperature(path, {"values": values})
    predictor = Predictor(path, "cpu", **options)
    after = predictor(image, probabilities=True)
    np.testing.assert_array_equal(after.mask, before.mask)
    np.testing.assert_array_equal(predictor(image).mask, mask)
    probabilities = reference(path, image, **options).astype(np.float64)
    divisor = np.resize(values, 4)[probabilities.argmax(axis=0)]
    expected = np.exp(np.log(probabilities) / divisor)
    np.testing.assert_allclose(after.probabilities, expected / expected.sum(axis=0), atol=2e-3)
    assert (np.abs(after.confidence - before.confidence) > 0.05).any()


def test_large_images_use_windows(path, monkeypatch):
    monkeypatch.setattr("segnet.inference.memory.DEFAULT_WINDOW", 32)
    predictor = Predictor(path, "cpu", max_pixels=40 * 50)
    image = noise(40, 51)
    assert_same_classes(predictor(image[:, :50]).mask, reference(path, image[:, :50]).argmax(axis=0))
    assert_same_classes(predictor(image).mask, reference(path, image, window=32).argmax(axis=0))


def test_the_predictor_is_thread_safe(path):
    images = [noise(30 + seed % 3, 70, seed=seed) for seed in range(12)]
    for options in ({}, {"window": 32, "flip": True}):
        predictor = Predictor(path, "cpu", **options)
        expected = [predictor(image, probabilities=True) for image in images]
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda image: predictor(image, probabilities=True), images))  # noqa: B023
        for one, other in zip(results, expected, strict=True):
            np.testing.assert_array_equal(one.mask, other.mask)
            np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_images_of_equal_size_are_batched(path, monkeypatch):
    sizes = []
    run = TorchRuntime.__call__
    monkeypatch.setattr(TorchRuntime, "__call__", lambda self, x: (sizes.append(len(x)), run(self, x))[1])
    images = [noise(*size, seed=seed) for seed, size in enumerate([(20, 30), (33, 9), (20, 30), (20, 30)])]
    results = Predictor(path, "cpu", batch_size=2).batch(images)
    assert sorted(sizes) == [1, 1, 2]
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result.image, image)
        assert_same_classes(result.mask, Predictor(path, "cpu")(image).mask)
    assert Predictor(path, "cpu").batch([]) == []


def test_stream_equals_the_prediction_in_memory(path):
    image, mask, asked = noise(70, 90), np.full((70, 90), 99), []

    def read(window: Window) -> np.ndarray:
        asked.append(window)
        return image[window.within()]

    def write(part: Window, ids: np.ndarray) -> None:
        mask[part.within()] = ids

    Predictor(path, "cpu", window=32).stream((70, 90), read, write)
    assert_same_classes(mask, Predictor(path, "cpu", window=32)(image).mask)
    assert {(window.height, window.width) for window in asked} == {(32, 32)}


class LimitedMemory:
    """A runtime that runs out of memory for batches above a number of pixels."""

    def __init__(self, path, pixels: int, error: Exception) -> None:
        self._runtime, self._pixels, self._error = TorchRuntime(path, "cpu"), pixels, error
        self.classes, self.channels, self.device = self._runtime.classes, 3, self._runtime.device
        self.value_range = None
        self.has_probabilities = True
        self.temperature = UNCALIBRATED

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if len(images) * images.shape[2] * images.shape[3] > self._pixels:
            raise self._error
        return self._runtime(images)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
]


@pytest.fixture
def limited(path, monkeypatch):
    def install(pixels: int, error: Exception = OUT_OF_MEMORY[0]) -> None:
        monkeypatch.setattr("segnet.inference.ensemble.open_runtime", lambda *_: LimitedMemory(path, pixels, error))
        monkeypatch.setattr("segnet.inference.memory.SMALLEST_WINDOW", 16)

    return install


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_out_of_memory_uses_smaller_windows_with_a_warning(path, limited, caplog, error):
    limited(40 * 40, error)
    image = noise(70, 90)
    predictor = Predictor(path)
    with caplog.at_level(logging.WARNING):
        mask = predictor(image).mask
    assert_same_classes(mask, reference(path, image, window=22).argmax(axis=0))
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with 70 x 90 pixels: retrying with windows of 45",
        "out of memory with windows of 45 pixels: retrying with windows of 22",
    ]
    caplog.clear()
    np.testing.assert_array_equal(predictor(image).mask, mask)  # without another retry
    small = image[:20, :20]
    assert_same_classes(predictor(small).mask, reference(path, small).argmax(axis=0))
    assert not caplog.records


def test_out_of_memory_first_reduces_the_batch_size(path, limited, caplog):
    limited(40 * 40)
    images = [noise(40, 40, seed=seed) for seed in range(3)]
    results = Predictor(path, batch_size=3).batch(images)
    for image, result in zip(images, results, strict=True):
        assert_same_classes(result.mask, reference(path, image).argmax(axis=0))
    assert [record.getMessage() for record in caplog.records] == [
        "out of memory with batch size 3: retrying with batch size 1"
    ]


def test_out_of_memory_streams_the_image_again_with_smaller_windows(path, limited):
    limited(25 * 25)
    image, mask = noise(70, 90), np.full((70, 90), 99)

    def write(part: Window, ids: np.ndarray) -> None:
        mask[part.within()] = ids

    Predictor(path, window=40).stream((70, 90), lambda window: image[window.within()], write)
    assert_same_classes(mask, reference(path, image, window=20).argmax(axis=0))


def test_out_of_memory_with_the_smallest_window_is_an_error(path, limited):
    limited(1)
    with pytest.raises(MachineError, match=r"out of memory even with windows of 22 pixels") as error:
        Predictor(path)(noise(70, 90))
    assert "\n" not in str(error.value)


def test_other_errors_are_not_treated_as_out_of_memory(path, limited):
    limited(1, RuntimeError("size mismatch"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        Predictor(path)(noise(70, 90))


def test_invalid_inputs_are_refused(path):
    predictor = Predictor(path, "cpu")
    with pytest.raises(DataError, match=r"of shape \(5, 6\) and type uint8: the model takes \(H, W, 3\)"):
        predictor.segment(np.zeros((5, 6), np.uint8))
    with pytest.raises(DataError, match="type float64"):
        predictor.segment(np.zeros((5, 6, 3)))
    with pytest.raises(ConfigError, match="overlap=2"):
        Predictor(path, "cpu", overlap=2)
