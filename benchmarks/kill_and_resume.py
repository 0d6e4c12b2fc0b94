"""Kill short training runs at random moments, resume with checkpoint=auto, and compare the results.

    python benchmarks/kill_and_resume.py --kills 20 --workers 0

SIGKILL ends every run once or several times, at any point: in a step, while a checkpoint is written, in a validation,
in the final evaluation. The last line says whether all runs ended with the weights, metrics.csv and results of an
uninterrupted run. The exit code is 1 if not. Needs os.fork.
"""

import argparse
import hashlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import torch

from segnet.config import Config, DataConfig, OptimConfig
from segnet.models.checkpoint import read_checkpoint
from segnet.training.trainer import quieten_lightning
from segnet.workflows.train import train


def configuration(workers: int, steps: int, accumulate: int, interval: int = 0) -> Config:
    """A run of a few seconds with dropout and batch norm: it has randomness and state."""
    return Config(
        backbone={"name": "resnet", "block": "basic", "depths": [1, 1, 1, 1], "output_stride": 16},
        decoder={
            "name": "deeplabv3plus",
            "output_stride": 16,
            "aspp_channels": 8,
            "low_level_channels": 4,
            "decoder_channels": 8,
            "dropout": 0.3,
        },
        backbone_weights=None,
        loss={"name": "cross_entropy"},
        dataset={"name": "shapes", "num_train": 22, "num_val": 9, "size": [48, 40]},
        data=DataConfig(batch_size=4, crop_size=[32, 32], num_workers=workers),
        optim=OptimConfig(lr=0.05),
        trainer={
            "accelerator": "cpu",
            "devices": 1,
            "log_every_n_steps": 2,
            "accumulate_grad_batches": accumulate,
            **({"val_check_interval": interval} if interval else {}),
            **({"max_steps": steps, "max_epochs": 99} if steps else {"max_epochs": 6}),
        },
        checkpoint_every=2,
        checkpoint="auto",
    )


def start(config: Config, folder: Path) -> int:
    """Start a run in its own process; return the process id."""
    process = os.fork()
    if process == 0:
        os.setsid()
        with open(folder.parent / "log.txt", "a", encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        code = 1
        try:
            train(config, folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return process


def outcome(folder: Path) -> dict[str, str]:
    """Hashes of everything that a finished run leaves."""
    checkpoint = read_checkpoint(folder / "last.ckpt")
    results = json.loads((folder / "results.json").read_text())
    for ephemeral in ("seconds", "checkpoint"):
        results.pop(ephemeral)
    results["config"].pop("trainer")
    best = [state["best_model_score"] for key, state in checkpoint["callbacks"].items() if "ModelCheckpoint" in key]
    return {
        "weights": hash_of(checkpoint["state_dict"]),
        "optimizer": hash_of(checkpoint["optimizer_states"]),
        "rates": hash_of(checkpoint["lr_schedulers"]),
        "best": hash_of([best, read_checkpoint(folder / "best.ckpt")["state_dict"]]),
        "metrics": hash_of((folder / "metrics.csv").read_text()),
        "results": hash_of(results),
    }


def hash_of(value: object) -> str:
    """First digits of a hash over nested tensors and builtins."""
    digest = hashlib.sha256()

    def add(part: object) -> None:
        if isinstance(part, torch.Tensor):
            digest.update(part.detach().contiguous().cpu().numpy().tobytes())
        elif isinstance(part, dict):
            for key in part:
                digest.update(str(key).encode())
                add(part[key])
        elif isinstance(part, list | tuple):
            for item in part:
                add(item)
        else:
            digest.update(repr(part).encode())

    add(value)
    return digest.hexdigest()[:12]


def killed_run(config: Config, parent: Path, rng: random.Random, longest: float, kills: int) -> tuple[Path, list[int]]:
    """Run a training that is killed `kills` times before it may end.

    Returns:
        Its folder, and the step of its last checkpoint after each kill; -1 without a checkpoint.
    """
    stood: list[int] = []
    for attempt in range(200):
        process = start(config, parent / f"{attempt}")
        if len(stood) < kills:
            time.sleep(rng.uniform(0.05, longest))
            if os.waitpid(process, os.WNOHANG)[0] == 0:
                os.killpg(process, signal.SIGKILL)
                os.waitpid(process, 0)
                found = sorted(parent.glob("*/last.ckpt"))
                stood.append(read_checkpoint(found[0])["global_step"] if found else -1)
                continue
            break  # it ended before the kill
        _, status = os.waitpid(process, 0)
        if status:
            raise SystemExit(f"a run failed: see {parent / 'log.txt'}")
        break
    folders = [path.parent for path in parent.glob("*/results.json")]
    if len(folders) != 1 or len(list(parent.glob("*/last.ckpt"))) != 1:
        raise SystemExit(f"{parent} holds {len(folders)} finished runs: some were started twice")
    return folders[0], stood


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="how many kills in all")
    parser.add_argument("--per-run", type=int, default=2, help="kills before a run may end")
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    parser.add_argument("--steps", type=int, default=0, help="number of steps; default: 6 epochs")
    parser.add_argument("--accumulate", type=int, default=1, help="batches in a step")
    parser.add_argument("--val-interval", type=int, default=0, help="batches between validations; default: an epoch")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further run after so long")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    quieten_lightning()
    torch.set_num_threads(1)
    rng = random.Random(arguments.seed)
    config = configuration(arguments.workers, arguments.steps, arguments.accumulate, arguments.val_interval)
    with tempfile.TemporaryDirectory() as root:
        parent = Path(root, "unbroken")
        parent.mkdir()
        begun = time.monotonic()
        _, status = os.waitpid(start(config, parent / "0"), 0)
        longest = time.monotonic() - begun
        if status:
            raise SystemExit((parent / "log.txt").read_text())
        expected = outcome(parent / "0")
        print(f"unbroken  {longest:5.1f} s  {expected}", flush=True)
        kills = run = wrong = 0
        started = time.monotonic()
        while kills < arguments.kills and time.monotonic() - started < arguments.seconds:
            parent = Path(root, f"run{run}")
            parent.mkdir()
            folder, stood = killed_run(config, parent, rng, longest, arguments.per_run)
            found = outcome(folder)
            differing = [name for name in expected if found[name] != expected[name]]
            verdict = f"weights {found['weights']}  {differing or 'all equal'}"
            print(f"run {run:3d}   killed after steps {stood!s:10}  {verdict}", flush=True)
            if differing:
                wrong += 1
                print((parent / "log.txt").read_text())
            kills, run = kills + len(stood), run + 1
    print(f"{kills} kills in {run} runs: {'all equal the uninterrupted run' if not wrong else f'{wrong} runs differ'}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
