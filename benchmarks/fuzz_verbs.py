"""Whole verbs on damaged files, as subjects of `fuzz_files.py`: each ends well, or in one line with its exit code.

    python benchmarks/fuzz_files.py checkpoint_verbs annotation_verbs image_verbs --seconds 300

A verb runs as on a command line, in a process of its own. Counted as stack traces: any error but SystemExit, exit code
1, a code that does not fit the damage, an end without a line of segnet's, a temporary file that is left behind.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from small_datasets import LAYOUTS, write
from small_images import pixels_of

from segnet.errors import SegnetError

Read = Callable[[Path], Any]  # reads a file as the verbs do; gives something that can be compared
Subject = tuple[Path, Read, list[Path]]  # sound file, reader, files to damage

MODEL = [
    "backbone_weights=null",
    "backbone.depths=[1,1,1,1]",
    *("backbone.base_channels=8", "backbone.stem_channels=8"),
    *("decoder.aspp_channels=8", "decoder.low_level_channels=4", "decoder.decoder_channels=8"),
]
TRAINING = [
    *("data.batch_size=2", "data.crop_size=[32,32]", "data.num_workers=0", "optim.lr=0.05", "checkpoint_every=1"),
    *("trainer.accelerator=cpu", "trainer.devices=1", "trainer.log_every_n_steps=1", "trainer.max_steps=4"),
]
ON_CHECKPOINTS, ON_DATA, ON_IMAGES = {4}, {2, 3}, {3, 6}  # exit codes that fit the damage


class Refused(SegnetError):
    """A verb ended in a line of its own."""


def run_verb(*arguments: str, fitting: set[int]) -> None:
    """Run a verb in this process.

    Raises:
        Refused: it ended with an exit code of `fitting`.
        AssertionError: with another one, or without a line that says why.
    """
    from segnet.cli import main

    logging.disable(logging.NOTSET)
    with tempfile.TemporaryFile() as output:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        code: Any = None
        try:
            main(list(arguments))
        except SystemExit as end:
            code = end.code
        finally:
            for printed in (sys.stdout, sys.stderr):
                with contextlib.suppress(ValueError):
                    printed.flush()
        output.seek(0)
        text = output.read().decode(errors="replace")
    verb = " ".join(arguments[:2])
    assert "Traceback (most recent call last)" not in text, f"{verb}: {text[-300:]}"
    if code == 0:
        return
    lines = [line for line in text.splitlines() if line.strip()]
    assert code in fitting, f"{verb}: exit code {code}: {lines[-1:]}"
    assert any(line.startswith("segnet: ") for line in lines), f"{verb}: exit code {code} without a line: {lines[-2:]}"
    raise Refused(lines[-1])


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder for what a verb writes; nothing half-written may be left in it."""
    with tempfile.TemporaryDirectory(prefix="segnet-verb-") as folder:
        yield Path(folder)
        left = [path.name for path in Path(folder).rglob(".*.tmp")]
        assert not left, f"left behind: {left}"


def in_process(call: Callable[[], Any]) -> None:
    """Call in a forked process.

    Raises:
        RuntimeError: it failed.
    """
    process = os.fork()
    if process == 0:
        try:
            call()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.__stderr__, flush=True)
            os._exit(1)
    if os.waitpid(process, 0)[1]:
        raise RuntimeError("the sound files cannot be made")


def warm_up() -> None:
    """Import what verbs import late, once for all forked processes."""
    import importlib

    for verb in ("convert", "evaluate", "export", "info", "inspect", "predict_work", "train"):
        importlib.import_module(f"segnet.cli.{verb}")
    for module in ("api", "workflows.train", "workflows.inspect", "published.convert", "serving.app", "exporters.onnx"):
        importlib.import_module(f"segnet.{module}")


def options_of(spec: dict[str, Any]) -> list[str]:
    """A dataset's spec as options of the command line."""
    texts = {key: str(value).replace("'", "").replace(" ", "") for key, value in spec.items() if key != "name"}
    return [f"dataset={spec['name']}", *(f"dataset.{key}={text}" for key, text in texts.items())]


def unfinished_run(folder: Path) -> tuple[Path, list[str]]:
    """last.ckpt of a run that stopped after 2 of 4 steps, and the options that resume it."""
    options = [*options_of(write("folder", folder / "data")), *MODEL, *TRAINING]
    run = folder / "runs" / "first"
    shorter = [option for option in options if "max_steps" not in option]
    in_process(lambda: run_verb("train", *shorter, "trainer.max_steps=2", f"hydra.run.dir={run}", fitting=set()))
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("max_steps: 2", "max_steps: 4"))
    return run / "last.ckpt", options


def predicted(model: Path, image: Path) -> bytes:
    """The mask of an image, as bytes of its file."""
    with workplace() as folder:
        arguments = ("--output", str(folder / "out"), "--device", "cpu", "--save", "mask")
        run_verb("predict", "--checkpoint", str(model), *arguments, str(image), fitting=ON_CHECKPOINTS)
        return next((folder / "out").glob("*.png")).read_bytes()


def checkpoint_verbs(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[Subject]:
    """Every verb that reads a checkpoint or an export."""
    warm_up()
    last, options = unfinished_run(folder)
    image = folder / "image.png"
    Image.fromarray(pixels_of("a")).save(image)

    def simple(*arguments: str) -> Read:
        def read(file: Path) -> None:
            with workplace() as place:
                filled = (word.format(file=file, place=place) for word in arguments)
                run_verb(*filled, fitting=ON_CHECKPOINTS)

        return read

    def converted(file: Path) -> str:
        with workplace() as place:
            try:
                run_verb("convert", str(file), "--output", str(place / "model.ckpt"), fitting={2, 4})
            except Refused as error:  # the sound file is segnet's own, which needs no conversion
                if "add --classes" not in str(error):
                    raise
                return "sound"
        raise AssertionError("convert took a file without classes")

    def trained(checkpoint: str, fitting: set[int]) -> Read:
        def read(file: Path) -> None:
            with workplace() as place:  # a copy of the run, which goes on in its folder
                shutil.copytree(file.parents[1], place / "runs")
                path = place / "runs" / "first" / file.name
                run_verb(
                    "train", *options, checkpoint.format(file=path), f"hydra.run.dir={place}/runs/new", fitting=fitting
                )

        return read

    both = [last, last.with_name("best.ckpt")]
    yield last, lambda file: predicted(file, image), [last]
    yield last, simple("info", "{file}"), [last]
    yield last, simple("evaluate", "checkpoint={file}", "hydra.run.dir={place}/out", "data.num_workers=0"), [last]
    yield last, converted, [last]
    yield last, simple("export", "{file}", "--format", "onnx", "--output", "{place}/model.onnx"), [last]
    yield last, trained("checkpoint=auto", set()), both  # it always finds something to do
    yield last, trained("checkpoint={file}", ON_CHECKPOINTS), [last]
    yield last, trained("init_from={file}", ON_CHECKPOINTS), [last]
    for format, suffix in (("onnx", ".onnx"), ("openvino", ".xml"), ("pt2", ".pt2")):
        exported = folder / format / f"model{suffix}"
        exported.parent.mkdir()
        arguments = ("export", str(last), "--format", format, "--output", str(exported))
        try:
            in_process(lambda arguments=arguments: run_verb(*arguments, fitting=set()))  # type: ignore[misc]
        except RuntimeError:
            print(f"{format} is left out")
            continue
        damaged = sorted(path for path in exported.parent.iterdir() if path.is_file())
        yield exported, lambda file: predicted(file, image), damaged
        yield exported, simple("info", "{file}"), damaged


def datasets(folder: Path) -> Iterator[tuple[dict[str, Any], list[Path]]]:
    """Of each layout the spec of a small dataset, and its files besides the images."""
    images = {pixels_of(name).tobytes() for name in "abcde"}
    for layout, (_, package) in LAYOUTS.items():
        try:
            spec = write(layout, folder / layout)
        except (ImportError, SegnetError) as error:
            print(f"{layout} is left out: {package} is not installed ({error})")
            continue
        paths = [path for path in sorted(Path(spec["root"]).rglob("*")) if path.is_file()]
        yield spec, [path for path in paths if not _is_one(path, images)]


def annotation_verbs(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[Subject]:
    """inspect and train on the annotations, masks, lists and tables of every layout."""
    warm_up()
    for spec, targets in datasets(folder):
        options = options_of(spec)
        yield targets[0], _verb("inspect", [*options, "data.crop_size=[32,32]"]), targets
        yield targets[0], _verb("train", [*options, *MODEL, *TRAINING, "trainer.limit_val_batches=1"]), targets


def _is_one(path: Path, images: set[bytes]) -> bool:
    """Whether a file is an image of the dataset, not a mask or annotation of one."""
    return path.suffix == ".jpg" or (path.suffix == ".png" and np.asarray(Image.open(path)).tobytes() in images)


def _verb(verb: str, options: Sequence[str]) -> Read:
    def read(file: Path) -> None:
        with workplace() as place:
            run_verb(verb, *options, f"hydra.run.dir={place}/out", fitting=ON_DATA)

    return read


def image_verbs(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[Subject]:
    """predict on a folder with a damaged image, and serve with one as an upload."""
    warm_up()
    last, _ = unfinished_run(folder)
    Image.fromarray(pixels_of("a")).save(folder / "sound.png")

    def predict(file: Path) -> None:
        with workplace() as place:
            arguments = ("--checkpoint", str(last), "--output", str(place / "out"), "--device", "cpu")
            run_verb("predict", *arguments, str(file), str(folder / "sound.png"), fitting=ON_IMAGES)

    def serve(file: Path) -> None:
        status, text = asyncio.run(_uploaded(last, file))
        assert status == 200 or (400 <= status < 500 and text.startswith('{"error":')), f"{status} {text[:100]}"
        if status != 200:
            raise Refused(text)

    for suffix, (_, options) in IMAGE_FORMATS.items():
        path = folder / f"image{suffix}"
        Image.fromarray(pixels_of("b")).save(path, **options)
        yield path, predict, [path]
        yield path, serve, [path]


# Ending -> type for the server, and options of Pillow.
IMAGE_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("png", {}),
    ".jpg": ("jpeg", {}),
    ".webp": ("webp", {}),
    ".bmp": ("bmp", {}),
    ".gif": ("gif", {}),
    ".ppm": ("ppm", {}),
    ".jp2": ("jp2", {}),
    ".tif": ("tiff", {"compression": "tiff_lzw"}),
}


async def _uploaded(checkpoint: Path, file: Path) -> tuple[int, str]:
    """Status and text of the server's answer; an error within it is raised."""
    import httpx

    from segnet.inference.predictor import Predictor
    from segnet.serving.app import Limits, create_app
    from segnet.serving.jobs import JobQueue

    with workplace() as place:
        limits = Limits()
        app = create_app(Predictor(checkpoint, "cpu"), str(checkpoint), limits, JobQueue(limits.waiting), place, ())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=60) as client:
            kind = f"image/{IMAGE_FORMATS[file.suffix][0]}"
            answer = await client.post("/predict", content=file.read_bytes(), headers={"Content-Type": kind})
        return answer.status_code, answer.text


SUBJECTS = {"checkpoint_verbs": checkpoint_verbs, "annotation_verbs": annotation_verbs, "image_verbs": image_verbs}
