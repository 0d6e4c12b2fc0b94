"""`segnet train`: compose the configuration and train."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.config import Config
from segnet.errors import ExitCode

NAMES_BACKBONE = re.compile(r"\+*(backbone|experiment)\b")


def main(arguments: Sequence[str]) -> int:
    """Train a model; return exit code 0."""
    jobs: list[Path] = []
    finished: list[tuple[Config, float, Path]] = []

    def task(config: Config, output_dir: Path) -> None:
        # late: a wrong option fails before torch is imported
        from segnet.cli.repeating import config_folder, write_command
        from segnet.cli.tables import print_scores
        from segnet.system.machine import process_age
        from segnet.workflows.messages import next_commands
        from segnet.workflows.train import train

        overrides = list(HydraConfig.get().overrides.task)
        results = train(with_named_backbone(config, overrides), output_dir, 0.0 if jobs else process_age())
        jobs.append(output_dir)
        if results is None:  # rank zero prints
            return
        print_scores(results)
        say(f"{results.checkpoint.stem} checkpoint: {results.checkpoint}")
        say(f"report: {results.checkpoint.with_name('report.html')}")
        say(next_commands(config, results.checkpoint))
        if config.budget:
            command = write_command([*config_folder(arguments), *overrides], results.checkpoint.parent)
            say(f"the same without a budget: {command}")
        finished.append((config, results.scores.miou, output_dir))

    try:
        run("train", Config, task, arguments)
    finally:
        if len(finished) > 1:  # jobs of --multirun
            from segnet.cli.tables import print_ranking

            print_ranking(finished)
    return ExitCode.OK


def with_named_backbone(config: Config, options: Iterable[str]) -> Config:
    """Complete the specs if the options name a backbone: a budget keeps one that is not the plain default.

    Args:
        options: of the command line or the call, with or without values, such as "backbone.depths=[1,1,1,1]".
    """
    if config.budget is None or not any(map(NAMES_BACKBONE.match, options)):
        return config
    from segnet.training.specs import complete_specs

    return complete_specs(config)
