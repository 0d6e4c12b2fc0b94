"""`segnet predict`: pictures in, indexed masks and overlays out, with nothing but a checkpoint."""

import argparse
import glob
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from segnet.bands import read_bands
from segnet.cli.arguments import Parser
from segnet.errors import CheckpointError, ConfigError, DataError, ExitCode, MachineError, SegnetError
from segnet.images import IMAGE_SUFFIXES, write_mask, write_picture
from segnet.predictor import Predictor
from segnet.scenes import segment_scene

RUNS = Path("runs")


def main(arguments: Sequence[str]) -> int:
    """Segments what the arguments name; exit code 0 when all went well, 6 when some did, 3 when none did."""
    options = _parse(arguments)
    inputs = list(dict.fromkeys(path for pattern in options.inputs for path in expand(pattern)))
    output_dir = require_output_folder(Path(options.output))
    checkpoint = Path(options.checkpoint) if options.checkpoint else newest_checkpoint(RUNS)
    predictor = Predictor(checkpoint, options.device, window=options.tile if options.scene else None)
    print(f"checkpoint: {checkpoint}")

    names = output_names(inputs)
    num_failed = 0
    for path in inputs:
        try:
            if options.scene:
                mask_path = output_dir / f"{names[path]}_mask.tif"
                refuse_existing([mask_path], options.overwrite)
                segment_scene(predictor.stream, path, mask_path, predictor.classes, predictor.channels)
                print(_one_line(f"{path} -> {mask_path}"), flush=True)
                continue
            mask_path = output_dir / f"{names[path]}_mask.png"
            overlay_path = output_dir / f"{names[path]}_overlay.png"
            refuse_existing([mask_path, overlay_path], options.overwrite)
            image = read_bands(path, predictor.channels)
            result = predictor.segment(image)
            write_mask(mask_path, result.mask, predictor.classes.palette)
            write_picture(overlay_path, result.overlay())
            report = f"{path} -> {mask_path}, {overlay_path.name}: {describe(result.shares)}"
            print(_one_line(report), flush=True)
        except SegnetError as error:
            if isinstance(error, MachineError):
                raise
            num_failed += 1
            print("segnet: error:", _one_line(str(error)), file=sys.stderr, flush=True)
    if num_failed:
        print(f"segnet: {num_failed} of {len(inputs)} inputs failed", file=sys.stderr)
        return ExitCode.PARTIAL if num_failed < len(inputs) else ExitCode.DATA
    return ExitCode.OK


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")  # a file name may hold line breaks


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        prog="segnet predict",
        description="Segments pictures. Writes NAME_mask.png (class ids, in their colours) and NAME_overlay.png.",
    )
    parser.add_argument("inputs", nargs="+", metavar="PICTURE", help="files, folders and globs")
    parser.add_argument("--checkpoint", metavar="FILE", help="default: the newest best.ckpt under runs/")
    parser.add_argument("--output", default="predictions", metavar="FOLDER", help="default: predictions")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; default: a GPU where there is one")
    parser.add_argument(
        "--scene", action="store_true", help="read GeoTIFFs window by window, write georeferenced NAME_mask.tif"
    )
    parser.add_argument("--tile", type=int, default=1024, metavar="PIXELS", help="side of a window; default: 1024")
    parser.add_argument("--overwrite", action="store_true", help="replace existing results")
    options = parser.parse_args(arguments)
    if options.tile < 1:
        raise ConfigError(f"--tile {options.tile} must be 1 or more")
    return options


def expand(pattern: str) -> list[Path]:
    """The pictures that an argument names: a file as it is, of a folder or a glob all that look like pictures.

    Raises:
        DataError: a folder or glob without any picture.
    """
    path = Path(pattern)
    if os.path.isdir(path):  # unlike the methods of Path, it does not fail on a name that is too long
        candidates = sorted(path.iterdir())
    elif os.path.exists(path) or not glob.has_magic(pattern):
        return [path]  # a missing file is reported with the others
    else:
        candidates = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
    found = [file for file in candidates if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    if not found:
        raise DataError(f"{pattern}: holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return found


def newest_checkpoint(runs: Path) -> Path:
    """The best.ckpt below `runs` that was written last.

    Raises:
        CheckpointError: there is none.
    """
    found = sorted(runs.glob("**/best.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(
            f"no checkpoint: {runs.absolute()} holds no best.ckpt. Train one with 'python train.py', "
            "or name one with --checkpoint FILE"
        )
    return found[-1]


def require_output_folder(folder: Path) -> Path:
    """Creates the folder before the model is loaded.

    Raises:
        MachineError: it cannot be a folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineError(f"--output {folder}: cannot be created ({error.strerror})") from None
    return folder


def output_names(inputs: Sequence[Path]) -> dict[Path, str]:
    """A name for the results of each input: its own without ending, or more of its path where that is not unique.

    Where even the path without its separators is not (x/b_a.png, x_b/a.png), a number follows.
    """
    stems = Counter(path.stem for path in inputs)
    full_names = Counter(path.name for path in inputs)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in inputs:
        if stems[path.stem] == 1:
            name = path.stem
        elif full_names[path.name] == 1:
            name = path.name
        else:
            name = "_".join(part for part in path.parts if part not in ("/", "..", "."))
        unique, number = name, 2
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        taken.add(unique)
        names[path] = unique
    return names


def refuse_existing(paths: Sequence[Path], overwrite: bool) -> None:
    """Raises:
    DataError: a result is there already, and --overwrite is not given.
    """
    for path in paths:
        if os.path.exists(path) and not overwrite:
            raise DataError(f"{path}: exists already; --overwrite replaces it")


def describe(shares: Mapping[str, float]) -> str:
    """The classes that occur, largest share first."""
    order = sorted((name for name in shares if shares[name]), key=lambda name: -shares[name])
    return ", ".join(f"{name} {100 * shares[name]:.1f}%" for name in order)
