"""Search learning rate, weight decay and loss with Optuna (https://optuna.org). Needs the extra `sweep`:

    python docs/search_optuna.py 20 dataset=camvid dataset.root=PATH trainer.max_epochs=20

This trains 20 times, each in its own folder. The study is stored beside them. The same command continues it, and
several commands on one machine share it. Copy this file and change `choose`.
"""

import sys
from pathlib import Path

import optuna

from segnet.cli.composition import composed
from segnet.config import Config
from segnet.errors import SegnetError
from segnet.training.metrics import percent
from segnet.workflows.train import train

FOLDER = Path("runs/optuna")


def choose(trial: optuna.Trial) -> list[str]:
    """Choose the options of a trial, as on the command line."""
    return [
        f"optim.lr={trial.suggest_float('optim.lr', 1e-3, 1e-1, log=True)}",
        f"optim.weight_decay={trial.suggest_float('optim.weight_decay', 1e-5, 1e-3, log=True)}",
        f"loss={trial.suggest_categorical('loss', ['cross_entropy', 'ohem', 'ce_dice', 'ce_lovasz'])}",
    ]


def search(num_trials: int, options: list[str], folder: Path = FOLDER) -> optuna.Study:
    """Run trials that maximize the val mIoU; a training that fails counts as a failed trial."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.create_study(storage=storage, study_name="segnet", direction="maximize", load_if_exists=True)
    for _ in range(num_trials):
        trial = study.ask()
        config = composed("train", Config, [*options, *choose(trial)])
        try:
            results = train(config, folder / str(trial.number))
        except SegnetError as error:  # such as a non-finite loss
            print(f"trial {trial.number} failed: {error}", file=sys.stderr)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        assert results is not None, "one process a trial: leave trainer.devices at 1"
        study.tell(trial, results.scores.miou)
        print(f"trial {trial.number}: val mIoU {percent(results.scores.miou)} with {trial.params}", flush=True)
    return study


if __name__ == "__main__":
    try:
        found = search(int(sys.argv[1]), sys.argv[2:])
    except SegnetError as error:
        print(f"segnet: error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"best: val mIoU {percent(found.best_value)} with {found.best_params}")
