"""Readers of damaged files, as subjects of `fuzz_files.py`: checkpoints, exports, weights, images and annotations."""

import pickle
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fuzz_verbs
import numpy as np
import torch
from fuzz_verbs import Read, Subject
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
PROBE = torch.randint(0, 256, (1, 3, 33, 47), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def checkpoints(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[Subject]:
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


def weights(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[Subject]:
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


def images(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[Subject]:
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


def annotations(folder: Path, rng_of: Callable[[int], np.random.Generator]) -> Iterator[Subject]:
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
}
