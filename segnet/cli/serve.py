"""`segnet serve`: a web page that segments images, and `POST /predict` for programs."""

import argparse
import errno
import importlib.util
import ipaddress
import os
import shlex
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.choices import PREDICTION_PRECISIONS, RUNTIMES
from segnet.cli.arguments import CHECKPOINT_HELP, DEVICE_HELP, PRECISION_HELP, RUNTIME_HELP, Parser, add_checkpoints
from segnet.cli.checkpoints import found_checkpoints
from segnet.cli.output import say
from segnet.cli.predict_options import add_refinement, read_refinement
from segnet.errors import ConfigError, ExitCode, MachineError
from segnet.system.signals import ending_at_once

if TYPE_CHECKING:
    from segnet.inference.predictor import Predictor
    from segnet.serving.collection import Collection


def main(arguments: Sequence[str]) -> int:
    """Serve until a signal arrives; the exit code is then 128 + signal."""
    options = _parse(arguments)
    _require_packages()
    from segnet.inference.predictor import Predictor  # late: imports torch, and --help stays fast

    checkpoints = found_checkpoints(options.checkpoint)
    if options.collect:
        from segnet.serving.collection import discard_empty, require_writable

        require_writable(options.collect)  # before the model is loaded
    with (
        ending_at_once("ended the server"),  # outermost: the folder is removed
        _bind(options.host, options.port) as listener,
        tempfile.TemporaryDirectory(prefix="segnet-", ignore_cleanup_errors=True) as uploads,
    ):
        predictor = Predictor(
            checkpoints,
            options.device,
            runtime=options.runtime,
            precision=options.precision,
            refinement=options.refinement,
        )
        if options.collect and predictor.classes.is_multilabel:
            discard_empty(options.collect)
            predictor.classes.require_one_class("segnet serve --collect")
        _serve(options, checkpoints, predictor, listener, Path(uploads))
    return ExitCode.OK


def _serve(
    options: argparse.Namespace,
    checkpoints: Sequence[Path],
    predictor: "Predictor",
    listener: socket.socket,
    uploads: Path,
) -> None:
    from PIL import Image

    from segnet.serving.app import Limits, create_app  # late: needs packages of the extra `serve`
    from segnet.serving.collection import Collection
    from segnet.serving.jobs import JobQueue
    from segnet.serving.server import run_server

    limits = Limits(
        max_bytes=round(options.max_megabytes * 1e6),
        max_pixels=round(options.max_megapixels * 1e6),
        waiting=options.queue,
        timeout=options.timeout,
    )
    if Image.MAX_IMAGE_PIXELS is not None:  # the server's limit replaces Pillow's if larger
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, limits.max_pixels // 2 + 1)
    queue = JobQueue(limits.waiting)
    name = ", ".join(str(Path(*checkpoint.absolute().parts[-2:])) for checkpoint in checkpoints)
    collection = None
    if options.collect:
        collection = Collection(options.collect, predictor.classes, predictor.channels, predictor.value_range)
    app = create_app(predictor, name, limits, queue, uploads, (options.host, *options.allow_host), collection)
    say(f"checkpoint: {', '.join(map(str, checkpoints))}")
    if collection is not None:
        _announce(collection)
    say(f"serving at {_url(listener)} (press Ctrl-C to stop)")
    if not _is_loopback(listener):
        say(
            f"segnet: warning: --host {options.host} accepts requests from the network without a password"
            f"{' and lets them save into --collect' if collection else ''}",
            error=True,
        )
    run_server(app, listener, queue, limits.timeout, uploads)


def _announce(collection: "Collection") -> None:
    """Print where images are saved, and the command that trains on them."""
    folder = collection.folder
    say(f"collecting corrected masks in {folder}: {collection.count} so far")
    say(f"to train on them: segnet train {shlex.quote(str(folder))}")
    for name in collection.lonely()[:3]:
        say(
            f"segnet: warning: {folder / name} has no partner, left by a save that was cut off: delete it before a "
            "training",
            error=True,
        )


def _require_packages() -> None:
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise MachineError(f'segnet serve needs {" and ".join(missing)}: pip install "segnet[serve]"')


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket; connections wait until the model is loaded.

    Raises:
        ConfigError: an unknown address.
        MachineError: the address belongs to another machine; the port is in use or not permitted.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise ConfigError(
            f"--host {host}: unknown address; use 127.0.0.1 for this machine only, 0.0.0.0 for the network"
        ) from None
    listener = socket.socket(family, kind)
    try:
        if os.name == "posix":  # reuse the port of a server that just ended; elsewhere this would share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise MachineError(
                f"--host {host}: {reason}; use 127.0.0.1 for this machine only, 0.0.0.0 for the network"
            ) from None
        raise MachineError(f"--port {port}: not available on {host} ({reason}); --port 0 picks a free port") from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def build_parser() -> Parser:
    """Build the parser of `segnet serve`."""
    parser = Parser(
        prog="segnet serve",
        description="Serves a web page that segments images, and POST /predict for programs.",
    )
    parser.add_argument("models", nargs="*", metavar="CHECKPOINT", help="same as --checkpoint")
    add_checkpoints(parser, CHECKPOINT_HELP)
    parser.add_argument("--device", help=DEVICE_HELP)
    parser.add_argument("--runtime", choices=RUNTIMES, help=RUNTIME_HELP)
    parser.add_argument("--precision", choices=PREDICTION_PRECISIONS, help=PRECISION_HELP)
    add_refinement(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind; default: 127.0.0.1 (this machine only); 0.0.0.0: network"
    )
    parser.add_argument("--port", type=int, default=8000, help="TCP port; default: 8000; 0 picks a free port")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="allowed Host header, such as a proxy's name; addresses and this machine's name are always allowed",
    )
    parser.add_argument(
        "--collect",
        type=Path,
        metavar="FOLDER",
        help="folder where the page saves images with corrected masks, for segnet train FOLDER; default: none",
    )
    parser.add_argument("--max-megabytes", type=float, default=50, metavar="N", help="largest file [MB]; default: 50")
    parser.add_argument(
        "--max-megapixels", type=float, default=50, metavar="N", help="largest image [megapixels]; default: 50"
    )
    parser.add_argument("--queue", type=int, default=8, metavar="N", help="most waiting requests; default: 8")
    parser.add_argument(
        "--timeout", type=float, default=60, metavar="SECONDS", help="most seconds for a request; default: 60"
    )
    return parser


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    options: argparse.Namespace = build_parser().parse_args(arguments)
    options.checkpoint = [*options.models, *(name for group in options.checkpoint for name in group)]
    options.refinement = read_refinement(options)
    for name, least in (("max_megabytes", 1e-3), ("max_megapixels", 1e-3), ("timeout", 0.1), ("queue", 0), ("port", 0)):
        value = getattr(options, name)
        if not least <= value < float("inf"):
            raise ConfigError(f"--{name.replace('_', '-')} {value:g} must be {least:g} or more")
    if options.port > 65535:
        raise ConfigError(f"--port {options.port} must be 65535 or less")
    return options
