"""Time from process start to written mask for one image: `predict.py img.png` against the shortest smp script.

    python benchmarks/cold_start.py --peer peer-env/bin/python

`benchmarks/peer.py` says how to create the peer's environment. Each round starts these processes one after the other:

* the peer's script,
* predict.py with a checkpoint that has no cached export (torch),
* predict.py with a cached export (OpenVINO or onnxruntime, whichever is installed),
* a script that imports Lightning and compiles the model with freezing.

All run DeepLabV3+ on a ResNet-50-d at output stride 16 with 19 classes, and read the same 512 x 512 PNG.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from predict_cpu import write_checkpoint
from side_by_side import machine

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.errors import SegnetError
from segnet.inference.runtimes import open_runtime

PREDICT = Path(__file__).resolve().parents[1] / "predict.py"
BUILD = """
import segmentation_models_pytorch as smp
import torch
model = smp.DeepLabV3Plus("tu-resnet50d", encoder_weights=None, encoder_output_stride=16, classes=19)
"""
# For a torchvision of another build than torch, whose operators are missing; takes a millisecond.
DECLARE = """
import torch
for name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
SAVE = 'torch.save(model.state_dict(), "smp.pth")\n'
PREDICT_PEER = """
import numpy as np
from PIL import Image
model.load_state_dict(torch.load("smp.pth"))
model.eval()
image = torch.from_numpy(np.array(Image.open("img.png").convert("RGB"))).permute(2, 0, 1)[None]
mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
with torch.inference_mode():
    mask = model((image / 255 - mean) / std)[0].argmax(dim=0)
Image.fromarray(mask.byte().numpy()).save("smp.png")
"""
COMPILED = """
import numpy as np
import pytorch_lightning
import torch
from PIL import Image
from segnet.models.checkpoint import load_checkpoint
torch._inductor.config.freezing = True
model = torch.compile(load_checkpoint("plain.ckpt")[0])
image = torch.from_numpy(np.array(Image.open("img.png").convert("RGB"))).permute(2, 0, 1)[None]
with torch.inference_mode():
    mask = model(image)[0].argmax(dim=0)
Image.fromarray(mask.byte().numpy()).save("compiled.png")
"""


def main() -> int:
    """Print the table."""
    parser = Parser(prog="cold_start.py", description="From process start to written mask, against an smp script.")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="Python of the peer's environment")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compiled-rounds", type=int, default=1, help="of the Lightning script; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = prepare(folder, options.peer)
        print(machine(torch.device("cpu")))
        seconds: dict[str, list[float]] = {title: [] for title in commands}
        for round_ in range(-1, options.rounds):  # one to warm the disk's cache
            for title, command in commands.items():
                if title.startswith("Lightning") and not 0 <= round_ < options.compiled_rounds:
                    continue
                taken = run(command, folder)
                if round_ >= 0:
                    seconds[title].append(taken)
    peers = seconds["smp script"]
    for title, values in seconds.items():
        if values:
            ratio = statistics.median(peer / ours for peer, ours in zip(peers, values, strict=False))
            print(f"{title:34s} {statistics.median(values):6.2f} s   {ratio:5.2f}x")
    return 0


def prepare(folder: Path, peer: str) -> dict[str, list[str]]:
    """Write the image and the models; return the commands by title."""
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    Image.fromarray(image).save(folder / "img.png")
    works = subprocess.run([peer, "-c", "import torchvision"], capture_output=True).returncode == 0
    build = BUILD if works else DECLARE + BUILD
    run([peer, "-c", build + SAVE], folder)
    write_checkpoint(folder / "plain.ckpt", {"depths": [3, 4, 6, 3]}, 16)
    commands = {
        "smp script": [peer, "-c", build + PREDICT_PEER],
        "predict.py, torch": predict("plain.ckpt"),
        "Lightning and torch.compile": [sys.executable, "-c", COMPILED],
    }
    for runtime in ("openvino", "onnxruntime"):
        cached = folder / "cached.ckpt"
        write_checkpoint(cached, {"depths": [3, 4, 6, 3]}, 16)
        try:
            open_runtime(cached, "cpu", runtime)
        except SegnetError as error:
            print(f"{runtime}: left out, {error}")
            continue
        commands[f"predict.py, cached export ({runtime})"] = predict("cached.ckpt")
        break  # predict.py chooses the cached export
    return commands


def predict(checkpoint: str) -> list[str]:
    """The predict.py command for a checkpoint."""
    output = Path(checkpoint).stem
    return [sys.executable, str(PREDICT), "img.png", "--checkpoint", checkpoint, "--output", output, "--overwrite"]


def run(command: list[str], folder: Path) -> float:
    """Run a process that must succeed; return its seconds."""
    environment = {**os.environ, "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
    start = time.perf_counter()
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{command[0]} failed:\n{result.stderr}")
    return time.perf_counter() - start


if __name__ == "__main__":
    end_process(main)
