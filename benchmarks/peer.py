"""segmentation_models.pytorch's DeepLabV3+ in its own process, controlled by a benchmark.

It needs its own environment, because it installs torchvision, whose build must match that of torch:

    python3.11 -m venv peer-env
    peer-env/bin/pip install -c constraints.txt torch torchvision timm segmentation-models-pytorch pillow

As a script in that environment it is the peer: for each line "encoder output_stride height width" on stdin it runs the
model once on that size, in eager float32 with `torch.inference_mode`, and prints the seconds.
"""

import subprocess
import sys
import time
from types import TracebackType
from typing import Any

NUM_CLASSES = 19


class Peer:
    """The peer process, as a context manager.

    Args:
        python: path of Python in the peer's environment.
    """

    def __init__(self, python: str) -> None:
        self._process = subprocess.Popen(
            [python, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.versions = self._read()

    def run(self, encoder: str, output_stride: int, height: int, width: int) -> float:
        """Seconds of one run; the first run of a model also builds it."""
        assert self._process.stdin
        print(encoder, output_stride, height, width, file=self._process.stdin, flush=True)
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the peer's process ended: its message is above")
        return line.strip()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    """The loop of the peer process."""
    import segmentation_models_pytorch as smp
    import timm
    import torch

    print(
        f"segmentation_models_pytorch {smp.__version__}, timm {timm.__version__}, torch {torch.__version__}", flush=True
    )
    models: dict[tuple[str, int], Any] = {}
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for line in sys.stdin:
        encoder, output_stride, height, width = line.split()
        key = encoder, int(output_stride)
        if key not in models:
            models.clear()
            models[key] = smp.DeepLabV3Plus(
                encoder, encoder_weights=None, encoder_output_stride=key[1], classes=NUM_CLASSES
            ).eval()
        image = torch.randint(0, 256, (1, 3, int(height), int(width)), dtype=torch.uint8)
        with torch.inference_mode():
            start = time.perf_counter()
            logits = models[key]((image / 255 - mean) / std)
            seconds = time.perf_counter() - start
        assert logits.shape == (1, NUM_CLASSES, int(height), int(width))
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
