"""`segnet predict` by kind of input: image formats, bands, scenes, videos, URLs and stdin."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predicting import checkpoint_of, run, write_noise, written

from segnet.cli.predict import main
from segnet.images.files import read_image
from segnet.images.masks import read_mask
from segnet.images.video import Frames, VideoWriter
from segnet.models.checkpoint import load_checkpoint


def kinds() -> dict[str, tuple[Image.Image, dict]]:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 40, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "gray": (rgb.convert("L"), {}),
        "16-bit": (Image.fromarray(rng.integers(0, 65536, (24, 40)).astype(np.uint16)), {}),
        "alpha": (rgb.convert("RGBA"), {}),
        "palette": (rgb.quantize(7), {}),
        "bilevel": (rgb.convert("1"), {}),
        "turned": (rgb, {"exif": exif}),
        "one pixel": (rgb.crop((0, 0, 1, 1)), {}),
    }


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_image_format_gives_a_mask_of_its_displayed_size(folder, checkpoint, kind):
    image, options = kinds()[kind]
    image.save("a.png", **options)
    assert main(["a.png", "--checkpoint", str(checkpoint)]) == 0
    width, height = image.size[::-1] if kind == "turned" else image.size
    assert read_mask("predictions/a_mask.png").shape == (height, width)
    assert read_image("predictions/a_overlay.png").shape == (height, width, 3)


def test_exif_orientation_is_applied(folder, checkpoint):
    image, options = kinds()["turned"]
    image.save("turned.png", **options)
    image.transpose(Image.Transpose.ROTATE_270).save("upright.png")
    assert main(["turned.png", "upright.png", "--checkpoint", str(checkpoint)]) == 0
    np.testing.assert_array_equal(read_mask("predictions/turned_mask.png"), read_mask("predictions/upright_mask.png"))


def test_only_bad_images_exit_with_3(folder, checkpoint, capsys):
    Path("text.png").write_text("not an image")
    assert main(["text.png", "gone.png", "--checkpoint", str(checkpoint)]) == 3
    assert written() == []
    assert "2 of 2 inputs failed" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--scene"]])
def test_one_bad_input_is_one_line(folder, checkpoint, capsys, options):
    assert main(["gone.png", "--checkpoint", str(checkpoint), *options]) == 3
    assert capsys.readouterr().err.splitlines() == ["segnet: error: gone.png: no such file"]
    assert written() == []


def test_a_truncated_image_gives_no_result(folder, checkpoint):
    write_noise("good.png")
    whole = write_noise("bad.jpg", (100, 100)).read_bytes()
    Path("bad.jpg").write_bytes(whole[: len(whole) // 2])
    assert main(["good.png", "bad.jpg", "--checkpoint", str(checkpoint)]) == 6
    assert written() == ["good_mask.png", "good_overlay.png"]


def test_a_too_long_name_is_one_failed_input(folder, checkpoint, capsys):
    write_noise("a.png")
    assert main(["a.png", "b" * 300 + ".png", "--checkpoint", str(checkpoint)]) == 6
    assert written() == ["a_mask.png", "a_overlay.png"]


def test_an_invalid_url_is_one_failed_input(folder, checkpoint):
    write_noise("a.png")
    (folder / "list.txt").write_text("a.png\nhttp://[\nhttp://a..b/x.png\n", encoding="utf-8")
    ended = run("--list", "list.txt", "--checkpoint", checkpoint, "--output", "urls", cwd=folder)
    assert ended.returncode == 6, ended.stderr
    assert written("urls") == ["a_mask.png", "a_overlay.png"]
    assert "http://[: is not a valid URL" in ended.stderr
    assert len(ended.stderr.splitlines()) == 3


def test_stdin_is_an_image_or_a_list(folder, checkpoint):
    content = write_noise("a.png").read_bytes()
    assert run("-", "--checkpoint", checkpoint, cwd=folder, stdin=content).returncode == 0
    assert written() == ["stdin_mask.png", "stdin_overlay.png"]
    result = run("-", "--checkpoint", checkpoint, cwd=folder, stdin=content)
    assert (result.returncode, "exists already, made of - before" in result.stderr) == (3, True)
    nothing = run("-", "--checkpoint", checkpoint, "--output", "nothing", cwd=folder)
    assert nothing.stderr.startswith("segnet: error: -: is empty")
    listed = run("--list", "-", "--checkpoint", checkpoint, "--output", "listed", cwd=folder, stdin=b"a.png\n")
    assert listed.returncode == 0, listed.stderr
    assert written("listed") == ["a_mask.png", "a_overlay.png"]


def test_an_animation_gives_its_first_frame_with_a_warning(folder, checkpoint, capsys):
    first, second = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (30, 20), "blue")
    first.save("a.gif", save_all=True, append_images=[second])
    first.save("still.gif")
    assert main(["a.gif", "still.gif", "--checkpoint", str(checkpoint)]) == 0
    assert capsys.readouterr().err == "segnet: a.gif: has 2 pages or frames; only the first is segmented\n"
    np.testing.assert_array_equal(read_mask("predictions/a_mask.png"), read_mask("predictions/still_mask.png"))


def test_a_decompression_bomb_is_refused_by_its_header_and_the_limit_is_an_option(folder, checkpoint, capsys):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    Path("bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    write_noise("a.png", (1000, 1001))
    command = ["--checkpoint", str(checkpoint), "--save", "csv"]
    try:
        assert main(["bomb.png", "a.png", *command]) == 6
        assert "bomb.png: larger than 179 megapixels" in capsys.readouterr().err
        assert main(["a.png", *command, "--max-megapixels", "1", "--output", "b"]) == 3
        assert (
            "a.png: larger than 1 megapixels: split it into tiles, or raise --max-megapixels" in capsys.readouterr().err
        )
    finally:
        Image.MAX_IMAGE_PIXELS = 179 * 10**6 // 2


def test_a_video_gives_an_overlay_video(folder, checkpoint, capsys):
    Path("clip.mp4").touch()
    writer = VideoWriter(Path("clip.mp4"), 10, "clip.mp4")
    for number in range(6):
        writer.write(np.full((32, 48, 3), 40 * number, np.uint8))
    writer.close()
    Path("broken.mp4").write_text("no video")
    command = [
        "clip.mp4",
        "broken.mp4",
        "--checkpoint",
        str(checkpoint),
        "--save",
        "overlay,csv",
        "--save-frames",
        "mask",
    ]
    assert main(command) == 6
    printed = capsys.readouterr()
    assert "clip.mp4 -> predictions/clip_overlay.mp4: 6 frames, " in printed.out
    assert "broken.mp4: is not a video, or damaged" in printed.err
    assert [name for name in written() if name.startswith("clip/")] == [f"clip/00000{n}_mask.png" for n in range(1, 7)]
    with Frames(Path("predictions/clip_overlay.mp4")) as frames:
        assert [frame.shape for frame in frames] == [(32, 48, 3)] * 6
        assert frames.rate == 10
    assert len(Path("predictions/shares.csv").read_text().splitlines()) == 2
    assert main(command) == 6
    assert "clip.mp4: done already" in capsys.readouterr().out


def test_a_grayscale_model_gets_all_16_bits(folder, capsys):
    """The values differ by less than one of 256 levels: at 8 bits all pixels would be equal."""
    checkpoint = checkpoint_of(1, folder / "best.ckpt")
    values = np.random.default_rng(0).integers(1000, 1100, (40, 48)).astype(np.uint16)
    Image.fromarray(values).save("a.png")
    assert main(["a.png", "--checkpoint", str(checkpoint)]) == 0
    model, _ = load_checkpoint(checkpoint)
    images = torch.tensor(values / 257, dtype=torch.float32)[None, None]
    with torch.inference_mode():
        expected = model(images)[0].argmax(dim=0).numpy()
    assert len(np.unique(expected)) > 1
    assert (read_mask("predictions/a_mask.png") == expected).mean() > 0.999  # rounding of float32
    assert read_image("predictions/a_overlay.png").shape == (40, 48, 3)


def test_a_multi_band_model_refuses_images_with_fewer_bands(folder, capsys):
    tifffile = pytest.importorskip("tifffile", reason="tifffile is an optional package, and not installed")
    checkpoint = checkpoint_of(8, folder / "best.ckpt")
    values = np.random.default_rng(0).integers(0, 3000, (40, 48, 8)).astype(np.uint16)
    tifffile.imwrite("a.tif", values, photometric="minisblack", planarconfig="contig")
    write_noise("b.png")
    assert main(["a.tif", "b.png", "--checkpoint", str(checkpoint)]) == 6
    model, _ = load_checkpoint(checkpoint)
    images = torch.tensor(values / 257, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = model(images)[0].argmax(dim=0).numpy()
    assert (read_mask("predictions/a_mask.png") == expected).mean() > 0.999
    assert "b.png: has 3 channels, but the model takes 8 channels" in capsys.readouterr().err


def test_a_scene_gives_a_mask_with_the_same_georeference(folder, checkpoint, capsys):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
    values = np.random.default_rng(0).integers(0, 256, (3, 50, 70)).astype(np.uint8)
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 400000, 0, -10, 5700000)}
    with rasterio.open("a.tif", "w", "GTiff", 70, 50, 3, dtype="uint8", **place) as file:
        file.write(values)
    write_noise("b.png")
    arguments = ["a.tif", "b.png", "--scene", "--window", "32", "--checkpoint", str(checkpoint)]
    assert main(arguments) == 6
    assert written() == ["a_mask.tif"]
    with rasterio.open("predictions/a_mask.tif") as mask:
        assert (mask.shape, mask.crs, mask.transform) == ((50, 70), rasterio.CRS.from_epsg(32632), place["transform"])
        assert set(np.unique(mask.read(1))) <= {0, 1, 2}
    assert "b.png: cannot be read as a GeoTIFF" in capsys.readouterr().err


def test_12_bit_images_in_16_bit_files_warn_once(checkpoint, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.linspace(0, 4095, 600).reshape(20, 30).astype(np.uint16)).save(tmp_path / name)
    assert main([str(tmp_path), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"segnet: {tmp_path}")
    assert "largest value is 4095 of 65535" in line
