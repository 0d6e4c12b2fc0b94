"""Searches learning rate, weight decay and loss with Optuna (https://optuna.org): pip install "segnet[sweep]", then

    python docs/search_optuna.py 20 dataset=camvid dataset.root=PATH trainer.max_epochs=20

trains 20 times, each into a folder of its own. The study lies beside them: the same command goes on with it, and
several at once on one machine share it. Copy the file and let `choose` choose what you like.
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
    """What a trial tries, as options of the command line."""
    return [
        f"optim.lr={trial.suggest_float('optim.lr', 1e-3, 1e-1, log=True)}",
        f"optim.weight_decay={trial.suggest_float('optim.weight_decay', 1e-5, 1e-3, log=True)}",
        f"loss={trial.suggest_categorical('loss', ['cross_entropy', 'ohem', 'ce_dice', 'ce_lovasz'])}",
    ]


def search(num_trials: int, options: list[str], folder: Path = FOLDER) -> optuna.Study:
    """Asks for options, trains, and tells the best val mIoU; a training that fails is told as failed."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{folder / 'study.db'}"
    study = optuna.create_study(storage=storage, study_name="segnet", direction="maximize", load_if_exists=True)
    for _ in range(num_trials):
        trial = study.ask()
        config = composed("train", Config, [*options, *choose(trial)])
        try:
            results = train(config, folder / str(trial.number))
        except SegnetError as error:  # a learning rate at which the loss is lost, say
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
