"""The server's ASGI application: request handling and error responses.

A request is received into a temporary file and takes a place in the queue. The queue's thread reads the image, predicts
and renders the answer. File and place are released when the thread has finished, even if the client has disconnected.
The number of places therefore bounds memory and disk use.
"""

import asyncio
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from segnet import __version__
from segnet.errors import ConfigError, DataError, SegnetError
from segnet.images.model_images import ModelImages
from segnet.images.values import Bands
from segnet.inference.predictor import Predictor
from segnet.serving.answers import Wanted, class_entries, content_type, render_answer
from segnet.serving.collection import AlreadyCollectedError
from segnet.serving.collection import Collection as CollectedImages
from segnet.serving.guard import Guard
from segnet.serving.jobs import JobQueue, QueueFullError
from segnet.serving.uploads import Reception, Target, read_upload, require_content_type, split_body

T = TypeVar("T")

STATIC = Path(__file__).parent / "static"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a request.

    Attributes:
        max_bytes: largest uploaded file [bytes].
        max_pixels: largest image [pixels].
        waiting: most waiting requests, besides the running one.
        timeout: limit from the start of a request to its answer [seconds].
    """

    max_bytes: int = 50_000_000
    max_pixels: int = 50_000_000
    waiting: int = 8
    timeout: float = 60.0


def create_app(
    predictor: Predictor,
    name: str,
    limits: Limits,
    queue: JobQueue,
    uploads: Path,
    allow_hosts: Collection[str] = (),
    collection: CollectedImages | None = None,
) -> Starlette:
    """Build the ASGI application.

    Args:
        name: name of the model, for display.
        queue: the queue that runs predictions.
        uploads: folder for uploaded images during a request.
        allow_hosts: allowed Host headers, besides addresses and the machine's name.
        collection: where POST /collect saves images with corrected masks; None: it is refused.
    """
    service = _Service(predictor, name, limits, queue, uploads, collection)
    return Starlette(
        routes=[
            Route("/predict", service.predict, methods=["POST"]),
            Route("/collect", service.collect, methods=["POST"]),
            Route("/model", service.model),
            Route("/health", service.health),
            Mount("/", StaticFiles(directory=STATIC, packages=[("segnet.images", "static")], html=True)),
        ],
        middleware=[Middleware(Guard, names=allow_hosts)],
        exception_handlers={HTTPException: _error_answer, Exception: _our_fault},
    )


async def _error_answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code not in (404, 405):
        return JSONResponse({"error": " ".join(error.detail.split())}, error.status_code, error.headers)
    if path in ("/predict", "/collect"):  # other methods than POST reach the static files
        message = f"{path} needs POST with an image as the body; see /openapi.json"
        return JSONResponse({"error": message}, 405, {"Allow": "POST"})
    message = f"{request.method} {path}: not found; /openapi.json lists all paths"
    return JSONResponse({"error": message}, error.status_code, error.headers)


async def _our_fault(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "internal error of segnet: see the server's log"}, 500)


class _Service:
    def __init__(
        self,
        predictor: Predictor,
        name: str,
        limits: Limits,
        queue: JobQueue,
        uploads: Path,
        collection: CollectedImages | None,
    ) -> None:
        self._predictor = predictor
        self._name = name
        self._limits = limits
        self._queue = queue
        self._uploads = uploads
        self._collection = collection
        self._reception = Reception()
        self._images = ModelImages(predictor.channels, predictor.value_range)

    async def health(self, request: Request) -> Response:
        """Report the state of the queue without waiting."""
        places = self._limits.waiting + 1
        health = {"status": "ok", "version": __version__, "places": places, "places_taken": self._queue.num_taken}
        return JSONResponse(health)

    async def model(self, request: Request) -> Response:
        """Report the model, its classes and the limits."""
        classes, refinement = self._predictor.classes, self._predictor.refinement.to_dict()
        if classes.is_multilabel:  # the thresholds in force
            own = dict(zip(classes.names, classes.decision_thresholds, strict=True))
            refinement["threshold"] = own | dict(self._predictor.refinement.threshold)
        return JSONResponse(
            {
                "name": self._name,
                "channels": self._predictor.channels,
                "task": classes.task,
                "classes": class_entries(classes),
                "ignore_index": classes.ignore_index,
                "collects": self._collection is not None,
                "refinement": refinement,
                "limits": {
                    "bytes": self._limits.max_bytes,
                    "pixels": self._limits.max_pixels,
                    "seconds": self._limits.timeout,
                },
            }
        )

    async def predict(self, request: Request) -> Response:
        """Segment the image in the request's body."""
        wanted = _parameters(Wanted.read, request)
        limit = self._limits.max_bytes
        too_large = f"the file has more than {limit / 1e6:g} MB: scale it down"
        body = await self._result(request, lambda path: self._segment(path, wanted), limit, too_large)
        media_type = content_type(wanted.output, self._predictor.classes)
        return Response(body, media_type=media_type, headers={"Cache-Control": "no-store"})

    async def collect(self, request: Request) -> Response:
        """Save the image and the corrected mask in the request's body."""
        collection, limit = self._collection, self._limits.max_bytes
        if collection is None:
            raise HTTPException(403, "this server saves no images: start it with --collect FOLDER")
        target = _parameters(Target.read, request)
        if target.image_bytes > limit:
            raise HTTPException(413, f"the image has more than {limit / 1e6:g} MB: scale it down")

        def save(path: Path) -> bytes:
            image, mask = split_body(path, target.image_bytes)
            size = self._read(image).shape[:2]
            labels = collection.read_mask(mask, (size[0], size[1]))
            saved = collection.save(image, labels, target.name, target.replace)
            logger.info("collected %s", saved.image)
            return json.dumps(asdict(saved)).encode()

        too_large = f"the mask has more than {limit / 1e6:g} MB: send a compressed PNG of class ids"
        body = await self._result(request, save, target.image_bytes + limit, too_large)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    async def _result(self, request: Request, work: Callable[[Path], bytes], max_bytes: int, too_large: str) -> bytes:
        """Receive a request's body into a file, and return the result of the queue's thread.

        Args:
            work: called with the file in the queue's thread.
            max_bytes: largest body [bytes].
            too_large: the error above it.

        Raises:
            HTTPException: the error for the client.
        """
        deadline = time.monotonic() + self._limits.timeout
        require_content_type(request)
        try:
            self._queue.require_place()
            with ExitStack() as held:
                folder = held.enter_context(tempfile.TemporaryDirectory(dir=self._uploads, ignore_cleanup_errors=True))
                with self._reception.upload() as upload:
                    path = await upload.receive(request, Path(folder), max_bytes, deadline, too_large)
                held.enter_context(self._queue.place())
                job = self._queue.submit(lambda: work(path), held.pop_all().close)
            return await _outcome(job, request, deadline)
        except QueueFullError as error:
            message = f"the server is busy: try again in {error.retry_after} s"
            raise HTTPException(503, message, {"Retry-After": str(error.retry_after)}) from None
        except ClientDisconnect:
            raise HTTPException(400, "the request ended early") from None  # nobody reads it
        except AlreadyCollectedError as error:
            raise HTTPException(409, str(error)) from None
        except DataError as error:
            raise HTTPException(422, str(error).replace(f"{folder}{os.sep}", "")) from None
        except ConfigError as error:  # a parameter that does not fit the model
            raise HTTPException(400, str(error)) from None
        except SegnetError as error:
            raise HTTPException(500, str(error)) from None

    def _segment(self, path: Path, wanted: Wanted) -> bytes:
        """Read and segment an uploaded image, and render the answer; runs in the queue's thread."""
        image = self._read(path)
        height, width = image.shape[:2]
        started = time.perf_counter()
        keep = wanted.needs_probabilities(len(self._predictor.classes.names), height * width)
        refinement = self._predictor.refinement.changed(**wanted.refinement)
        segmentation = self._predictor.segment(image, probabilities=keep, refinement=refinement)
        seconds = time.perf_counter() - started
        logger.info("%d x %d pixels in %.2f s", width, height, seconds)
        return render_answer(segmentation, wanted, seconds)

    def _read(self, path: Path) -> Bands:
        image = read_upload(path, self._images, self._limits.max_pixels)
        for warning in self._images.warnings(path, image):
            logger.warning("%s: %s", path.name, warning)
        return image


def _parameters(read: Callable[[Mapping[str, str]], T], request: Request) -> T:
    """The parameters of a request.

    Raises:
        HTTPException: an unknown or invalid one.
    """
    try:
        query = request.query_params
        return read({key: ",".join(query.getlist(key)) for key in query})
    except ConfigError as error:
        raise HTTPException(400, str(error)) from None


async def _outcome(job: Future[bytes], request: Request, deadline: float) -> bytes:
    """Wait for a job until its client disconnects.

    Raises:
        HTTPException: the job did not finish in time. ClientDisconnect: the client has disconnected.
    """
    ended = asyncio.wrap_future(job)
    ended.add_done_callback(lambda future: future.cancelled() or future.exception())  # marks the exception as retrieved
    gone = asyncio.create_task(_disconnected(request))
    try:
        timeout = max(0.0, deadline - time.monotonic())
        either: set[asyncio.Future[Any]] = {ended, gone}
        done, _ = await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
    if ended in done:
        return ended.result()
    job.cancel()  # cancels a waiting job; a running job cannot be stopped
    if gone in done:
        raise ClientDisconnect
    raise HTTPException(504, "no answer within the server's time limit: send a smaller image, or try again later")


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
