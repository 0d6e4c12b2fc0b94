"""Time from process start to written mask for one image: `predict.py img.png` against the shortest smp script.

    git worktree add ../earlier COMMIT
    python benchmarks/cold_start.py --peer peer-env/bin/python --before ../earlier

`benchmarks/peer.py` says how to create the peer's environment. Each round starts these processes one after the other:

* the peer's script,
* predict.py with a checkpoint that has no cached export (torch),
* predict.py with a cached export (OpenVINO or onnxruntime, whichever is installed),
* with `--before`, the predict.py of another checkout in the same two ways, with the same Python,
* a script that imports torch and ends at once,
* a script that imports Lightning and compiles the model with freezing.

All run DeepLabV3+ on a ResNet-50-d at output stride 16 with 19 classes, and read the same 512 x 512 PNG. The script
prints the median time, its ratio to the peer's script, and the shortest CPU time with its ratio. The CPU time depends
less on what else the machine does.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from limited_processes import Ended
from limited_processes import run as ended
from PIL import Image
from predict_cpu import write_checkpoint
from side_by_side import machine

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.inference.runtimes.cache import CACHE_SUFFIX

CHECKOUT = Path(__file__).resolve().parents[1]
PEER, IMPORT, COMPILE = "smp script", "import torch, ended at once", "Lightning and torch.compile"
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
ONLY_TORCH = "import os, torch; os._exit(0)"
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = Parser(prog="cold_start.py", description="From process start to written mask, against an smp script.")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="Python of the peer's environment")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout of segnet, in the same rounds")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compiled-rounds", type=int, default=1, help="of the Lightning script; 0: none")
    options = parser.parse_args(arguments)
    if options.before and not (options.before / "predict.py").is_file():
        parser.error(f"--before {options.before}: no checkout of segnet, it has no predict.py")
    checkouts = {"": CHECKOUT} | ({", before": options.before.resolve()} if options.before else {})
    os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commands = prepare(folder, str(Path(options.peer).absolute()), checkouts)
        print(machine(torch.device("cpu")))
        found: dict[str, list[Ended]] = {title: [] for title in commands}
        for round_ in range(-1, options.rounds):  # one to warm the disk's cache
            for title, command in commands.items():
                if title == COMPILE and not 0 <= round_ < options.compiled_rounds:
                    continue
                process = run(command, folder)
                if round_ >= 0:
                    found[title].append(process)
    print("\n".join(table(found)))
    return 0


def table(found: dict[str, list[Ended]]) -> list[str]:
    """Lines with times and their ratios to the peer's; a title without a process has none."""
    lines = []
    for title, processes in found.items():
        if processes:
            pairs = list(zip(found[PEER], processes, strict=False))
            seconds = statistics.median(process.seconds for process in processes)
            ratio = statistics.median(peer.seconds / ours.seconds for peer, ours in pairs)
            least = min(process.cpu_seconds for process in processes)
            cpu_ratio = min(process.cpu_seconds for process in found[PEER]) / least
            lines.append(f"{title:42s} {seconds:6.2f} s {ratio:5.2f}x   CPU time {least:6.2f} s {cpu_ratio:5.2f}x")
    return lines


def prepare(folder: Path, peer: str, checkouts: dict[str, Path]) -> dict[str, list[str]]:
    """Write the image and the models; return the commands by title.

    Args:
        checkouts: checkouts of segnet by the end of their titles.
    """
    image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    Image.fromarray(image).save(folder / "img.png")
    works = subprocess.run([peer, "-c", "import torchvision"], capture_output=True).returncode == 0
    build = BUILD if works else DECLARE + BUILD
    run([peer, "-c", build + SAVE], folder)
    write_checkpoint(folder / "plain.ckpt", {"depths": [3, 4, 6, 3]}, 16)
    commands = {PEER: [peer, "-c", build + PREDICT_PEER]}
    commands |= {f"predict.py, torch{end}": predict(checkout, "plain.ckpt") for end, checkout in checkouts.items()}
    for number, (end, checkout) in enumerate(checkouts.items()):
        cached = folder / f"cached{number}.ckpt"
        shutil.copy(folder / "plain.ckpt", cached)
        for runtime in ("openvino", "onnxruntime"):
            process = ended([*predict(checkout, cached.name), "--runtime", runtime], folder)  # writes the export
            if process.code == 0 and cached.with_suffix(CACHE_SUFFIX).is_file():
                commands[f"predict.py, cached export ({runtime}){end}"] = predict(checkout, cached.name)
                break  # predict.py chooses the cached export
            print(f"{runtime}{end}: left out, {process.last_line}")
    return commands | {IMPORT: [sys.executable, "-c", ONLY_TORCH], COMPILE: [sys.executable, "-c", COMPILED]}


def predict(checkout: Path, checkpoint: str) -> list[str]:
    """The predict.py command of a checkout for a checkpoint."""
    program, output = str(checkout / "predict.py"), Path(checkpoint).stem
    return [sys.executable, program, "img.png", "--checkpoint", checkpoint, "--output", output, "--overwrite"]


def run(command: list[str], folder: Path) -> Ended:
    """Run a process that must succeed."""
    process = ended(command, folder)
    if process.code:
        raise SystemExit(f"{command[0]} failed:\n{process.output}")
    return process


if __name__ == "__main__":
    end_process(main)
