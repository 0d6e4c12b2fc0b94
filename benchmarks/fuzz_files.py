"""Damaged files: every mutated image, checkpoint, export, weight file and annotation is refused, or harmless.

    python benchmarks/fuzz_files.py checkpoints --cases 2880
    python benchmarks/fuzz_files.py images weights annotations --seconds 300
    python benchmarks/fuzz_files.py checkpoint_verbs annotation_verbs image_verbs --seconds 300

The first four read files as the verbs do; the others run whole verbs (`fuzz_verbs.py`).
Counts stack traces (any error that is no SegnetError), hangs (more than --limit seconds), crashes (a process that dies)
and silent changes (a damaged file computes another result, though its format has a checksum). Cases depend on the seed
alone: --first N --cases 1 repeats one. The exit code is 1 if anything was found.
"""

import argparse
import io
import json
import logging
import os
import pickle
import re
import signal
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fuzz_verbs
import numpy as np
import torch
from PIL import Image

from segnet.classes import Classes
from segnet.errors import SegnetError

SPEC: dict[str, Any] = {
    "backbone": {"name": "resnet", "block": "basic", "depths": [1, 1, 1, 1], "base_channels": 8, "stem_channels": 8},
    "decoder": {"name": "deeplabv3plus", "output_stride": 16, "aspp_channels": 8, "low_level_channels": 4},
    "num_classes": 3,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
CLASSES = Classes.create(["sky", "road", "tree"])
BATCH = 20  # cases of a process: it is forked, so that a crash or a leak ends one batch only
WORDS = re.compile(rb"[^\s,:;\[\]{}()\"']+")
PROBE = torch.randint(0, 256, (1, 3, 33, 47), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

Read = Callable[[Path], Any]  # reads a file as the verbs do; gives something that can be compared


def mutate(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One of the ways in which disks, transfers and people damage files."""
    data = bytearray(content)
    size = len(data)
    place = int(rng.integers(0, max(1, size)))
    kind = str(rng.choice(["bit", "bits", "byte", "head", "zeros", "cut", "grow", "insert", "delete", "swap"]))
    if kind == "bit":
        data[place] ^= 1 << int(rng.integers(0, 8))
    elif kind in ("bits", "head"):
        reach = size if kind == "bits" else min(size, 512)
        for position in rng.integers(0, reach, int(rng.integers(1, 20))):
            data[position] ^= 1 << int(rng.integers(0, 8))
    elif kind == "byte":
        data[place] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    elif kind == "zeros":
        data[place : place + 64] = bytes(min(64, size - place))
    elif kind == "cut":
        del data[place:]
    elif kind == "grow":
        data += rng.bytes(int(rng.integers(1, 200)))
    elif kind == "insert":
        data[place:place] = rng.bytes(int(rng.integers(1, 20)))
    elif kind == "delete":
        del data[place : place + int(rng.integers(1, 50))]
    else:
        other = int(rng.integers(0, max(1, size)))
        length = int(rng.integers(1, 64))
        data[place : place + length], data[other : other + length] = (
            data[other : other + length],
            data[place : place + length],
        )
    return kind, bytes(data)


def rezipped(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A zip archive of which one member is damaged, with the checksum of the damage."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = (
        str(rng.choice(sorted(parts))) if rng.random() < 0.5 else next(n for n in parts if n.endswith((".pkl", "json")))
    )
    kind, parts[name] = mutate(parts[name] or b"\0", rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in parts.items():
            archive.writestr(member, data)
    return f"member {kind}", buffer.getvalue()


ODD: tuple[Any, ...] = (
    None,
    -1,
    0,
    1.5,
    2**100,
    10**9,
    "x",
    "",
    [],
    [1],
    {},
    {"a": 1},
    True,
    float("nan"),
    [None],
    "a\x1b\n",
)


def edited(value: Any, rng: np.random.Generator) -> Any:
    """A nested value with one part of another type, one key less or one more."""
    places: list[tuple[Any, Any]] = []

    def visit(inner: Any) -> None:
        items = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        for key, part in items:
            places.append((inner, key))
            visit(part)

    visit(value)
    holder, key = places[int(rng.integers(0, len(places)))]
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = ODD[int(rng.integers(0, len(ODD)))]
    return value


def with_odd_word(content: bytes, rng: np.random.Generator) -> bytes:
    """A text of which one word is another value."""
    words = list(WORDS.finditer(content))
    word = words[int(rng.integers(0, len(words)))]
    odd = str(ODD[int(rng.integers(0, len(ODD)))]).encode()
    return content[: word.start()] + odd + content[word.end() :]


# What is read, and from what


def checkpoints(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[tuple[Path, Read, list[Path]]]:
    """(sound file, reader, files to damage): checkpoints and exports as predict, evaluate and train read them."""
    from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
    from segnet.models.pretrained import load_pretrained, save_pretrained
    from segnet.models.segmentation_model import SegmentationModel
    from segnet.workflows.export import export

    torch.manual_seed(0)
    model = SegmentationModel(**SPEC)
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    training = {"optimizer_states": [{"state": {}, "param_groups": []}], "lr_schedulers": [], "loops": {}, "epoch": 3}
    path = folder / "a.ckpt"
    save_checkpoint(
        {"state_dict": state, "hyper_parameters": {"model": SPEC, "classes": CLASSES.to_dict()}, **training}, path
    )

    def logits(found: Any) -> bytes:
        with torch.inference_mode():
            return bytes(found(PROBE).numpy().tobytes())

    yield path, lambda file: logits(load_checkpoint(file)[0]), [path]
    yield path, lambda file: sorted(read_checkpoint(file)["state_dict"]), [path]
    save_pretrained(SPEC, model.state_dict(), CLASSES, folder / "hub")
    hub = folder / "hub" / "model.safetensors"
    yield hub, lambda file: logits(load_pretrained(file.parent)[0]), [hub, hub.with_name("config.json")]
    for format, suffix, package in (
        ("onnx", ".onnx", "onnxruntime"),
        ("openvino", ".xml", "openvino"),
        ("pt2", ".pt2", "torch"),
    ):
        try:
            __import__(package)
            exported = folder / format / f"a{suffix}"
            export(path, format, exported, "logits", lambda _: None)
        except (ImportError, SegnetError) as error:
            print(f"{format} is left out: {error}")
            continue
        damaged = [exported, *([exported.with_suffix(".bin")] if format == "openvino" else [])]
        yield exported, exported_logits, damaged


def exported_logits(file: Path) -> bytes:
    """As predict opens it."""
    from segnet.inference.runtimes import open_runtime

    return bytes(open_runtime(file, "cpu")(PROBE).numpy().tobytes())


def weights(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[tuple[Path, Read, list[Path]]]:
    """Weight files of every format, as backbone_weights= and segnet convert read them."""
    from safetensors.torch import save_file

    from segnet.models.segmentation_model import SegmentationModel
    from segnet.weights.load import load_backbone_weights

    torch.manual_seed(0)
    backbone = SegmentationModel(**SPEC).backbone
    state = {name: value.contiguous() for name, value in backbone.state_dict().items()}

    def loaded(file: Path) -> bytes:
        load_backbone_weights(backbone, file)
        return bytes(torch.cat([value.flatten().float() for value in backbone.state_dict().values()]).numpy().tobytes())

    torch.save({"state_dict": state, "meta": {"epoch": 1}}, folder / "a.pth")
    torch.save(state, folder / "foreign-old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "foreign.safetensors")
    arrays = {name: value.numpy() for name, value in state.items()}
    (folder / "foreign-2.pdparams").write_bytes(pickle.dumps(arrays, protocol=2))
    (folder / "foreign-4.pdparams").write_bytes(pickle.dumps(arrays, protocol=4))
    for name in ("a.pth", "foreign-old.pth", "foreign.safetensors", "foreign-2.pdparams", "foreign-4.pdparams"):
        yield folder / name, loaded, [folder / name]


def images(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[tuple[Path, Read, list[Path]]]:
    """Image and mask files of every format, as all verbs read them."""
    from segnet.images.bands import read_bands
    from segnet.images.header import read_header
    from segnet.images.masks import read_mask

    pixels = rng_of(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "webp", "bmp", "gif", "tif"):
        path = folder / f"a.{suffix}"
        Image.fromarray(pixels).save(path)
        yield path, lambda file: (read_header(file), read_bands(file, 3).shape), [path]
    Image.fromarray(pixels[:, :, 0] % 4).save(folder / "mask.png")
    yield folder / "mask.png", lambda file: read_mask(file).shape, [folder / "mask.png"]
    try:
        import tifffile
    except ImportError:
        return
    layouts: list[dict[str, Any]] = [
        {"compression": "zlib"},
        {"tile": (16, 16), "compression": "zlib"},
        {"planarconfig": "separate"},
        {"bigtiff": True},
    ]
    for number, options in enumerate(layouts):
        for dtype in (np.uint8, np.uint16, np.float32):
            path = folder / f"{number}-{np.dtype(dtype).name}.tif"
            data: Any = pixels / 255 if dtype == np.float32 else pixels
            data = data.transpose(2, 0, 1) if "planarconfig" in options else data
            try:
                tifffile.imwrite(path, data.astype(dtype), photometric="rgb", **options)
            except (KeyError, ValueError, ImportError):  # a codec that needs another package
                continue
            yield path, lambda file: (read_header(file), read_bands(file, 3).shape), [path]


def annotations(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[tuple[Path, Read, list[Path]]]:
    """Annotations, masks, lists and tables of every layout, by bytes and by values of other types."""
    from segnet.data import build_splits

    def reader(spec: dict[str, Any]) -> Read:
        def read(_: Path) -> list[int]:
            hashes = []
            for dataset in build_splits(spec, ("train", "val")).values():
                dataset.findings()
                for index in range(len(dataset)):
                    dataset.files(index)
                    hashes.append(zlib.crc32(dataset.load(index).mask.tobytes()))
            return hashes

        return read

    for spec, targets in fuzz_verbs.datasets(folder):
        yield targets[0], reader(spec), targets


SUBJECTS = {
    "checkpoints": checkpoints,
    "weights": weights,
    "images": images,
    "annotations": annotations,
    **fuzz_verbs.SUBJECTS,
}


# Running


def damaged(path: Path, rng: np.random.Generator) -> tuple[str, bytes, bool]:
    """What was done, the new content, and whether a checksum would see it."""
    content = path.read_bytes()
    is_zip = content.startswith(b"PK\x03\x04")
    if is_zip and rng.random() < 0.3:
        return *rezipped(content, rng), False
    if path.suffix == ".json" and rng.random() < 0.7:
        return "edited", json.dumps(edited(json.loads(content), rng)).encode(), False
    if path.suffix in (".txt", ".csv", ".yaml", ".xml") and rng.random() < 0.5:
        return "word", with_odd_word(content, rng), False
    if is_zip and path.suffix in (".ckpt", ".pth") and rng.random() < 0.3:
        whole = torch.load(io.BytesIO(content), weights_only=True)
        buffer = io.BytesIO()
        torch.save(edited(whole, rng), buffer)
        return "edited", buffer.getvalue(), False
    kind, changed = mutate(content, rng)
    return kind, changed, changed != content and (is_zip or not path.name.startswith("foreign"))


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises:
    TimeoutError: out of it.
    """

    def end(*_: object) -> None:
        raise _Hang

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


class _Hang(BaseException):
    pass


def attempt(read: Read, path: Path, expected: Any, seen_by_checksum: bool, limit: int) -> str:
    """The name of what was found; "refused", "accepted" or "harmless" of what is in order."""
    try:
        with time_limit(limit):
            result = read(path)
    except SegnetError as error:
        return "refused" if str(error).strip() else f"TRACE without a message: {error!r}"
    except _Hang:
        return "HANG"
    except BaseException as error:
        return f"TRACE {type(error).__name__}: {' '.join(str(error).split())[:100]}"
    if seen_by_checksum and isinstance(result, bytes) and result != expected:
        return "SILENT CHANGE"
    return "harmless" if result == expected else "accepted"


def expected_result(read: Read, path: Path) -> Any:
    """What a sound file gives, in a forked process.

    Raises:
        RuntimeError: it cannot be read.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        with os.fdopen(writing, "wb") as answer:
            logging.disable(logging.CRITICAL)
            try:
                pickle.dump((True, read(path)), answer)
            except BaseException as error:
                pickle.dump((False, f"{type(error).__name__}: {error}"), answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        content = answer.read()
    os.waitpid(process, 0)
    succeeded, result = pickle.loads(content)
    if not succeeded:
        raise RuntimeError(f"{path}: the sound file cannot be read ({result})")
    return result


def run_cases(
    cases: range,
    subjects: list[tuple[Path, Read, list[Path]]],
    expected_of: list[Any],
    options: argparse.Namespace,
    report: IO[str],
) -> None:
    """Damage, read and restore one file after another."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    logging.disable(logging.CRITICAL)
    for case in cases:
        rng = np.random.default_rng([options.seed, case])
        path, read, targets = subjects[case % len(subjects)]
        target = targets[int(rng.integers(0, len(targets)))]
        whole = target.read_bytes()
        kind, content, visible = damaged(target, rng)
        report.write(f"{case}\t{target.name} {kind}\t")
        report.flush()
        target.write_bytes(content)
        finding = attempt(read, path, expected_of[case % len(subjects)], visible, options.limit)
        target.write_bytes(whole)
        report.write(f"{finding}\n")
        report.flush()


def run_batch(
    cases: range, subjects: list[tuple[Path, Read, list[Path]]], expected_of: list[Any], options: argparse.Namespace
) -> list[str]:
    """The findings of a forked process, one a case; a crash is found by its absence."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        with os.fdopen(writing, "w", encoding="utf-8", errors="backslashreplace") as report:
            try:
                run_cases(cases, subjects, expected_of, options, report)
            except BaseException as error:  # of this script: the parent's folder must stay
                report.write(f"TRACE of the fuzzer itself: {error!r}\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as report:
        lines = report.read().split("\n")
    _, status = os.waitpid(process, 0)
    found = [line for line in lines if line]
    if status:
        signum = status & 0x7F
        found[-1:] = [f"{found[-1] if found else cases[0]}CRASH by {signal.Signals(signum).name if signum else status}"]
    return found


def fuzz(name: str, options: argparse.Namespace) -> Counter[str]:
    """Runs the cases of a subject, and prints what was found."""
    totals: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="segnet-fuzz-") as folder:
        subjects = list(SUBJECTS[name](Path(folder), lambda number: np.random.default_rng([options.seed, number])))
        sound = {path: path.read_bytes() for _, _, targets in subjects for path in targets}
        expected_of = [expected_result(read, path) for path, read, _ in subjects]
        batch = 1 if name in fuzz_verbs.SUBJECTS else BATCH
        first, started = options.first, time.monotonic()
        while first < options.first + options.cases and time.monotonic() - started < options.seconds:
            cases = range(first, min(first + batch, options.first + options.cases))
            for line in run_batch(cases, subjects, expected_of, options):
                finding = line.rpartition("\t")[2]
                totals[finding.split(":")[0] if finding.isupper() or finding[:5] == "TRACE" else finding] += 1
                if finding.split(" ")[0] in ("TRACE", "HANG", "CRASH", "SILENT"):
                    print(f"{name}: {line}", flush=True)
            for path, content in sound.items():
                path.write_bytes(content)
            first = cases.stop
    done = first - options.first
    print(f"{name}: {done} cases in {time.monotonic() - started:.0f} s: {dict(totals)}", flush=True)
    return totals


def main() -> int:
    """Exit code 1 where anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subjects", nargs="*", default=list(SUBJECTS), help=f"of {', '.join(SUBJECTS)}; default: all")
    parser.add_argument("--cases", type=int, default=10**9, help="of each subject")
    parser.add_argument("--seconds", type=float, default=60, help="for each subject; default: 60")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--limit", type=int, default=30, help="seconds after which a case counts as a hang")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bad = Counter[str]()
    for name in options.subjects:
        for finding, count in fuzz(name, options).items():
            if finding.split(" ")[0] in ("TRACE", "HANG", "CRASH", "SILENT"):
                bad[finding.split(" ")[0]] += count
    print(f"found: {dict(bad) or 'nothing'}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
