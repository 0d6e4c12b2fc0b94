"""`segnet train`: compose the configuration and train."""

from collections.abc import Sequence
from pathlib import Path

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.config import Config
from segnet.errors import ExitCode


def main(arguments: Sequence[str]) -> int:
    """Train a model; return exit code 0."""
    finished: list[tuple[Config, float, Path]] = []

    def task(config: Config, output_dir: Path) -> None:
        from segnet.cli.tables import print_scores  # late: a wrong option fails before Lightning is imported
        from segnet.workflows.messages import next_commands
        from segnet.workflows.train import train

        results = train(config, output_dir)
        if results is None:  # rank zero prints
            return
        print_scores(results)
        say(f"{results.checkpoint.stem} checkpoint: {results.checkpoint}")
        say(f"report: {results.checkpoint.with_name('report.html')}")
        say(next_commands(config, results.checkpoint))
        finished.append((config, results.scores.miou, output_dir))

    try:
        run("train", Config, task, arguments)
    finally:
        if len(finished) > 1:  # jobs of --multirun
            from segnet.cli.tables import print_ranking

            print_ranking(finished)
    return ExitCode.OK
