"""The accuracy benchmark: published preprocessing, counts checked by hand, one line per error."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from warm_python import WARM_PYTHON

from segnet.errors import CheckpointError, ConfigError, DataError
from segnet.weights.names import CLASSIFIER

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "imagenet_accuracy.py"
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
CLASSES = ["a_red", "b_green", "c_blue", "d", "e", "f"]

spec = importlib.util.spec_from_file_location("imagenet_accuracy", SCRIPT)
benchmark = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = benchmark  # dataclasses look their module up there
spec.loader.exec_module(benchmark)


def color_detector() -> dict[str, torch.Tensor]:
    """Weights of torchvision's ResNet-18 that pass the normalized color through and classify red, green and blue.

    All convolutions of the blocks are zero, and their shortcuts pass the first channels on; ReLU cuts at the mean
    color. Class 0 scores red, 1 green, 2 blue; 3, 4, 5 always score -1, -2, -3.
    """

    def norm(name: str, channels: int) -> dict[str, torch.Tensor]:
        ones, zeros = torch.ones(channels), torch.zeros(channels)
        return {f"{name}.{key}": ones for key in ("weight", "running_var")} | {
            f"{name}.{key}": zeros for key in ("bias", "running_mean")
        }

    def zero(*shape: int) -> torch.Tensor:
        return torch.zeros(1).expand(shape)  # one number on the disk

    stem = torch.zeros(64, 3, 7, 7)
    stem[:3, :, 3, 3] = torch.eye(3)
    state = {"conv1.weight": stem} | norm("bn1", 64)
    width = 64
    for stage, channels in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            place = f"layer{stage}.{block}"
            state |= {
                f"{place}.conv1.weight": zero(channels, width, 3, 3),
                f"{place}.conv2.weight": zero(channels, channels, 3, 3),
            }
            state |= norm(f"{place}.bn1", channels) | norm(f"{place}.bn2", channels)
            if width != channels:
                state[f"{place}.downsample.0.weight"] = torch.eye(channels, width)[:, :, None, None]
                state |= norm(f"{place}.downsample.1", channels)
            width = channels
    state["fc.weight"] = torch.eye(6, 512) * torch.tensor([1.0, 1, 1, 0, 0, 0])[:, None]
    state["fc.bias"] = torch.tensor([0.0, 0, 0, -1, -2, -3])
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(color_detector(), path)
    return path


def fill(folder: Path, images: dict[str, list[tuple[int, int, int]]]) -> Path:
    for name, colors in images.items():
        (folder / name).mkdir(parents=True)
        for index, color in enumerate(colors):
            Image.new("RGB", (50 + 9 * index, 40), color).save(folder / name / f"{index}.JPEG")
    return folder


def command(weights: Path, images: Path, *more: object) -> list[str]:
    small = ("--resize", 36, "--crop", 32, "--batch-size", 2, "--num-workers", 0, "--device", "cpu")
    return list(map(str, ("--backbone", "resnet18", "--weights", weights, "--images", images, *small, *more)))


def test_top_1_and_top_5_are_counted(weights, tmp_path, capsys):
    images = fill(
        tmp_path / "val",
        {
            "a_red": [RED, RED, GREEN],  # two are first, the third scores 0 of red: among the first five
            "b_green": [GREEN],  # first
            "c_blue": [BLUE],  # first
            "d": [RED],  # -1: fourth
            "e": [BLUE],  # -2: fifth
            "f": [RED, GREEN, BLUE],  # -3: last
        },
    )
    assert benchmark.main(command(weights, images)) == 0
    out = capsys.readouterr().out
    assert "10 images of 6 classes, --resize 36 --crop 32 --interpolation bilinear" in out
    assert "top-1 40.00 %, top-5 70.00 %" in out


def test_a_class_list_gives_the_ids_of_some_folders(weights, tmp_path, capsys):
    class_list = tmp_path / "classes.txt"
    # the order of the list counts, not that of the folders
    class_list.write_text("z_red red, scarlet\nb_green\na_blue blue\n\nd\ne\nf\n")
    images = fill(tmp_path / "val", {"z_red": [RED, RED], "a_blue": [BLUE, GREEN]})
    assert benchmark.main(command(weights, images, "--class-list", class_list)) == 0
    out = capsys.readouterr().out
    assert "4 images of 2 classes" in out
    assert "top-1 75.00 %, top-5 100.00 %" in out


def error(kind: type[Exception], arguments: list[str]) -> str:
    with pytest.raises(kind) as caught:
        benchmark.main(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_folders_than_the_classes_are_refused(weights, tmp_path):
    images = fill(tmp_path / "val", {"a_red": [RED], "b_green": [GREEN]})
    message = error(DataError, command(weights, images))
    assert f"{images}: holds 2 folders, but the weights have 6 classes" in message
    assert "--class-list FILE" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a_red\nb\nc\nd\ne\n", "names 5 classes, but the weights have 6"),
        ("a_red\nb_green\nc\nd\nd\ne\n", "names d more than once"),
        ("a_red\nb\nc\nd\ne\nf\n", "b_green: is not a class of --class-list"),
        (None, "classes.txt: cannot be read"),
    ],
)
def test_mismatched_class_lists_are_refused(weights, tmp_path, text, words):
    images = fill(tmp_path / "val", {"a_red": [RED], "b_green": [GREEN]})
    if text is not None:
        (tmp_path / "classes.txt").write_text(text)
    assert words in error(DataError, command(weights, images, "--class-list", tmp_path / "classes.txt"))


def test_missing_and_empty_folders_are_refused(weights, tmp_path):
    assert "no such folder" in error(DataError, command(weights, tmp_path / "val"))
    images = fill(tmp_path / "val", {name: [RED] for name in CLASSES[:5]} | {"f": []})
    assert f"{images / 'f'}: holds no image" in error(DataError, command(weights, images))


def test_weights_without_a_linear_layer_are_refused(tmp_path):
    path = tmp_path / "headless.pth"
    torch.save({name: value for name, value in color_detector().items() if not CLASSIFIER.fullmatch(name)}, path)
    assert f"{path}: has no linear layer" in error(CheckpointError, command(path, tmp_path))


def test_weights_of_another_depth_are_refused(weights, tmp_path):
    assert "does not fit the backbone" in error(
        CheckpointError, [*command(weights, tmp_path), "--backbone", "resnet34"]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backbone", "resnt18"], "resnet18"),
        (["--backbone", "timm"], "timm measures its models itself"),
        (["--crop", "64"], "--resize 36: is below --crop 64"),
        (["--crop", "0"], "--crop 0: must be 1 or more"),
        (["--batch-size", "0"], "--batch-size 0: must be 1 or more"),
        (["--num-workers", "-1"], "--num-workers -1: must be 0 or more"),
        (["--interpolation", "nearest"], "--interpolation"),
        (["--depth", "3"], "--depth"),
    ],
)
def test_invalid_options_are_refused(weights, tmp_path, options, words):
    assert words in error(ConfigError, [*command(weights, tmp_path), *options])


def test_errors_end_like_in_the_segnet_command(weights, tmp_path):
    result = subprocess.run(
        [*WARM_PYTHON, SCRIPT, *command(weights, tmp_path / "nowhere")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 3
    assert result.stderr.splitlines()[-1] == f"segnet: error: --images {tmp_path / 'nowhere'}: no such folder"
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("height", "width"), [(10, 20), (20, 10), (10, 10)])
def test_the_crop_is_centered(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    prepare = benchmark.Preparation(resize=10, crop=4)  # the shorter side is that already
    top, left = (height - 4) // 2, (width - 4) // 2
    expected = image[top : top + 4, left : left + 4].transpose(2, 0, 1)
    assert np.array_equal(prepare(image).numpy(), expected)


def test_the_shorter_side_is_resized_with_smoothing():
    # Stripes of one pixel become gray where every pixel counts, and stay stripes or vanish where some are skipped.
    image = np.zeros((64, 96, 3), np.uint8)
    image[:, ::2] = 255
    prepared = benchmark.Preparation(resize=16, crop=16)(image)
    assert prepared.shape == (3, 16, 16)
    assert ((prepared > 110) & (prepared < 145)).all()


def test_both_interpolations_match_pillow():
    image = np.random.default_rng(0).integers(0, 256, (20, 33, 3), np.uint8)
    for name, filtered in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        prepared = benchmark.Preparation(8, 8, name)(image)
        resized = np.asarray(Image.fromarray(image).resize((13, 8), filtered))  # 33 * 8 / 20 = 13.2
        assert np.array_equal(prepared.numpy().transpose(1, 2, 0), resized[:, 2:10])  # from 2.5, to the even
