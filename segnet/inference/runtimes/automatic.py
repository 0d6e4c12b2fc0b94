"""precision=auto: the fastest precision that gives the masks of float32, measured once for a model, machine and size.

The first images of a size are predicted in float32 and in each lower precision of the runtime. The choice is stored in
the user's cache, because a measurement takes as long as some predictions.
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from segnet.errors import SegnetError
from segnet.inference.decisions import decision_of
from segnet.inference.runtimes.cache import file_digest
from segnet.inference.runtimes.openvino import OpenVINORuntime
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.system.files import read_object, replacing
from segnet.system.machine import cpu_has_bf16, machine_line

EQUAL_PIXELS = 0.995  # fraction of pixels that must keep their class
LEAST_SPEED = 1.1  # speed relative to float32 from which a lower precision pays
TIMED_RUNS = 3  # timed runs of each precision, in turn; the shortest counts

log = logging.getLogger(__name__)


class AutomaticRuntime:
    """A model that runs in the precision that is best for its images; implements `segnet.inference.runtimes.Runtime`.

    Args:
        open_precision: opens the model in a runtime and precision; runtime None: the default one.
        runtime: the runtime; None: the default one.
        path: path of the model, whose content is part of the key of the stored choices.
        folder: folder of the stored choices.

    Raises:
        SegnetError: as `open_precision` raises it for float32.
    """

    def __init__(
        self, open_precision: Callable[[str | None, str], Any], runtime: str | None, path: Path, folder: Path
    ) -> None:
        exact = open_precision(runtime, "float32")
        self.classes, self.channels, self.value_range = exact.classes, exact.channels, exact.value_range
        self.device, self.has_probabilities, self.temperature = exact.device, exact.has_probabilities, exact.temperature
        name = {TorchRuntime: "torch", OpenVINORuntime: "openvino"}.get(type(exact), "")
        self._open = partial(open_precision, name)
        self._lower = lower_precisions(name, self.device.type)
        self._runtimes = {"float32": exact}
        self._chosen: dict[int, str] = {}  # by `_size_class`
        self._lock = threading.Lock()
        self._store = folder / f"{_key(path, name, machine_line(self.device)) if self._lower else ''}.json"

    def __call__(self, images: Tensor) -> Tensor:
        with self._lock:
            runtime = self._runtimes[self._choice(images)]
        logits: Tensor = runtime(images)
        return logits

    def _choice(self, images: Tensor) -> str:
        """The precision for images of this size; opens its model."""
        size = _size_class(images)
        if size in self._chosen:
            return self._chosen[size]
        if not self._lower:
            log.info("precision=auto: float32, the only precision of this runtime and machine")
            return self._chosen.setdefault(size, "float32")
        stored = read_object(self._store)
        choice = stored.get(str(size))
        again = " (measured earlier)"
        if not isinstance(choice, dict) or choice.get("precision") not in ("float32", *self._lower):
            choice, again = self._measured(images), ""
            _store_choices(self._store, {**stored, str(size): choice})
        log.info("precision=auto: %s%s", choice.get("reason", ""), again)
        precision: str = choice["precision"]
        if precision not in self._runtimes:
            self._runtimes[precision] = self._open(precision)
        self._chosen[size] = precision
        return precision

    def _measured(self, images: Tensor) -> dict[str, str]:
        """Measure the precisions on images; return the best one, and the reason in a sentence."""
        decision, exact = decision_of(self.classes), self._runtimes["float32"]
        best, speed, notes = "float32", 1.0, []
        for precision in self._lower:
            try:
                lower = self._runtimes[precision] = self._open(precision)
            except SegnetError as error:
                notes.append(f"{precision} cannot be used ({error})")
                continue
            masks = [decision.masks(decision.scores(run(images))) for run in (exact, lower)]
            agreement = (masks[0] == masks[1]).double().mean().item()
            ratio = _speed(exact, lower, images)
            notes.append(f"{precision} is {ratio:.1f} times as fast, {100 * agreement:.2f} % equal pixels")
            if agreement >= EQUAL_PIXELS and ratio >= max(LEAST_SPEED, speed):
                best, speed = precision, ratio
        self._runtimes = {name: run for name, run in self._runtimes.items() if name in ("float32", best)}
        height, width = images.shape[2:]
        limits = f"needed: {LEAST_SPEED:g} times, {100 * EQUAL_PIXELS:g} %"
        return {"precision": best, "reason": f"{best} for {width} x {height} ({'; '.join(notes)}; {limits})"}


def lower_precisions(runtime: str, device: str) -> tuple[str, ...]:
    """The precisions below float32 that a runtime computes faster on a device, if any.

    Args:
        runtime: "torch" or "openvino"; any other has none.
        device: its type, such as "cpu" or "cuda".
    """
    if device == "cuda":
        return ("fp16", "bf16") if runtime == "torch" else ()
    return ("bf16",) if device == "cpu" and runtime in ("torch", "openvino") and cpu_has_bf16() else ()


def choices_folder() -> Path:
    """Folder of the stored choices, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnet" / "precisions"


def _key(path: Path, *names: str) -> str:
    """A digest of a model's files and of names."""
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path, path.with_suffix(".bin")]
    digests = [file_digest(file) for file in files if file.is_file()]
    return hashlib.sha256("\n".join([*digests, *names]).encode()).hexdigest()[:16]


def _size_class(images: Tensor) -> int:
    """Images of one class differ in their number of pixels by less than a factor of two."""
    height, width = images.shape[2:]
    return (height * width).bit_length()


def _speed(exact: Callable[[Tensor], Tensor], lower: Callable[[Tensor], Tensor], images: Tensor) -> float:
    """The speed of `lower` relative to `exact`; both have run once."""
    seconds: dict[Callable[[Tensor], Tensor], list[float]] = {exact: [], lower: []}
    for _ in range(TIMED_RUNS):
        for run, taken in seconds.items():
            start = time.perf_counter()
            run(images).flatten()[-1].item()  # waits for a GPU
            taken.append(time.perf_counter() - start)
    return min(seconds[exact]) / min(seconds[lower])


def _store_choices(path: Path, choices: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as temporary:
            temporary.write_text(json.dumps(choices), encoding="utf-8")
    except (OSError, SegnetError) as error:
        log.warning("precision=auto: the choice cannot be stored, and is measured again next time (%s)", error)
