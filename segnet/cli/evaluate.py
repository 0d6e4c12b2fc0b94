"""`segnet evaluate`: a checkpoint on a split -> table and results.json."""

from collections.abc import Sequence
from pathlib import Path

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.config import EvaluateConfig
from segnet.errors import ConfigError, ExitCode


def main(arguments: Sequence[str]) -> int:
    """Evaluates what the options say; exit code 0 when it ended."""
    run("evaluate", EvaluateConfig, _evaluate, arguments)
    return ExitCode.OK


def _evaluate(config: EvaluateConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_scores  # after composing: a wrong option need not wait for Lightning
    from segnet.inference.tta import Inference
    from segnet.training.distributed import launched
    from segnet.training.run_folder import dataset_of_run
    from segnet.workflows.evaluate import evaluate

    launcher, count = launched()
    if count > 1:
        raise ConfigError(f"{launcher} started {count} processes, and an evaluation runs in one: start one")
    checkpoint = Path(config.checkpoint).expanduser()
    dataset = config.dataset
    if "name" not in dataset:
        dataset = dataset_of_run(checkpoint, dataset)
        say(f"dataset of the run: {' '.join(f'{key}={value}' for key, value in dataset.items() if value is not None)}")
    inference = Inference(flip=config.flip, scales=config.scales, window=config.window, overlap=config.overlap)
    results = evaluate(
        checkpoint,
        dataset=dataset,
        split=config.split,
        data=config.data,
        trainer=config.trainer,
        inference=inference,
    )
    results.write(output_dir / "results.json")
    print_scores(results)
    say(f"results: {output_dir / 'results.json'}")
