"""The `segnet` command: dispatch to one module per verb, and map errors to exit codes."""

import atexit
import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from segnet import __version__
from segnet.cli.output import protect_terminal, say
from segnet.components import did_you_mean
from segnet.errors import ConfigError, ExitCode, Interrupted, SegnetError
from segnet.extras import broken_package

VERBS = {
    "inspect": "find problems in a dataset: segnet inspect dataset=... [option=value ...]",
    "shard": "pack a dataset into tar files for streaming: segnet shard dataset=... output=FOLDER [option=value ...]",
    "train": "train a model: segnet train [option=value ...]",
    "crossval": "cross-validation, with held-out predictions: segnet crossval folds=5 [option=value ...]",
    "evaluate": "compute mIoU of a checkpoint: segnet evaluate checkpoint=best.ckpt dataset=... [option=value ...]",
    "compare": "tell differences of IoU from noise: segnet compare A.ckpt B.ckpt, or A1 A2 A3 -- B1 B2 B3",
    "doubt": "find label errors by held-out predictions: segnet doubt CROSSVAL_FOLDER | best.ckpt [option=value ...]",
    "average": "average the weights of checkpoints of one model: segnet average A.ckpt B.ckpt [option=value ...]",
    "rank": "choose the unlabeled images to label next: segnet rank photos/ --checkpoint best.ckpt [number=20]",
    "benchmark": "measure speed and memory: segnet benchmark [checkpoint=best.ckpt | backbone=... output_stride=...]",
    "predict": "segment images: segnet predict img.png [more files, folders, globs]",
    "serve": "segment images on a local web page: segnet serve [--checkpoint best.ckpt] [--port 8000]",
    "export": "export a checkpoint to another runtime: segnet export best.ckpt --format onnx",
    "convert": "convert a PaddleSeg or mmsegmentation model: segnet convert FILE --output model.ckpt",
    "info": "show the contents of a checkpoint or exported model: segnet info FILE",
    "backbones": "list the backbones with their size and ImageNet weights",
    "models": "list published models; every verb accepts their names as checkpoints",
    "doctor": "check this installation: Python, torch, GPU, packages, caches",
}


def command(verb: str | None = None) -> NoReturn:
    """Run `main` as the only work of a process, and end the process quickly.

    Python frees all modules one by one at its end, which takes more than half a second with torch. Everything else of
    its end stays: threads are joined, and the functions of `atexit` run.

    Args:
        verb: as `main` takes it.
    """
    codes: list[int] = []
    atexit.register(_end_without_cleanup, codes)  # before all others, so that it runs after them
    try:
        main(verb=verb)
    except SystemExit as end:
        if isinstance(end.code, int):
            codes.append(end.code)
        raise


def _end_without_cleanup(codes: Sequence[int]) -> None:
    """End the process with an exit code; without one, Python ends it, and reports the error."""
    if not codes:
        return
    logging.shutdown()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # Python reports it at its end
        return
    os._exit(codes[0])


def main(argv: Sequence[str] | None = None, verb: str | None = None) -> NoReturn:
    """Run a verb and end the process with an exit code of `segnet.errors.ExitCode`.

    Args:
        argv: the command's arguments; None: those of the process.
        verb: fixed by train.py and predict.py; None: the first argument.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    end_process(lambda: _run(arguments, verb))


def end_process(run: Callable[[], int]) -> NoReturn:
    """End the process with the exit code of `run` or of its error; an error is printed in one line."""
    protect_terminal()
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("segnet").setLevel(logging.INFO)
    try:
        sys.exit(run())
    except Interrupted as error:
        if str(error):  # empty when another process reports it
            say("segnet:", error, error=True)
        sys.exit(error.exit_code)
    except SegnetError as error:
        say("segnet: error:", error, error=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output, such as head, is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + 13)
    except Exception as error:
        broken = broken_package(error)
        if broken is None:
            raise
        say("segnet: error:", broken, error=True)
        sys.exit(broken.exit_code)
    except KeyboardInterrupt:
        say("segnet: interrupted", error=True)
        sys.exit(128 + 2)


def _run(arguments: list[str], verb: str | None) -> int:
    if verb is None:
        if not arguments or arguments[0] in ("-h", "--help"):
            print("usage: segnet VERB ...\n")
            print("\n".join(f"  {name:10s}{text}" for name, text in VERBS.items()))
            print("\nsegnet VERB --help lists the options of a verb.")
            return ExitCode.OK if arguments else ExitCode.USAGE
        verb = arguments.pop(0)
        if {"--shell-completion", "-sc"} & {verb, *arguments[:1]}:  # Hydra's own completes no verbs
            from segnet.cli.completion import COMPLETION_SWITCHES, run_completion  # fast: loads no verb

            others = [word for word in (verb, *arguments) if word not in (*COMPLETION_SWITCHES, *VERBS)]
            run_completion(others, list(VERBS))
            return ExitCode.OK
        if verb == "--version":
            print(f"segnet {__version__}")
            return ExitCode.OK
        if verb not in VERBS:
            raise ConfigError(f"segnet {verb}: no such verb.{did_you_mean(verb, VERBS)}")
    if {"-h", "--help"} & set(arguments):
        from segnet.cli.help import SCHEMAS, print_help  # fast: --help loads neither Hydra nor torch

        if verb in SCHEMAS:
            print_help(verb)
            return ExitCode.OK
    gc.disable()  # imports leave no garbage, and searching for it takes a tenth of predict's start
    try:
        module = importlib.import_module(f"segnet.cli.{verb}")
    finally:
        gc.enable()
    exit_code: int = module.main(arguments)
    return exit_code
