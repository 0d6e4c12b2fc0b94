"""`segnet benchmark`: speed and memory of a model on this machine -> table, benchmark.json."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.errors import ConfigError, ExitCode
from segnet.published.zoo import find_model
from segnet.verb_config import BenchmarkConfig

OF_A_CHECKPOINT = "backbone|decoder|loss|auxiliary_head|optim|output_stride|norm|num_classes"


def main(arguments: Sequence[str]) -> int:
    """Measure speed and memory of a model; return exit code 0."""
    if any(re.match(r"\+*checkpoint=(?!null$)", argument) for argument in arguments):
        for argument in arguments:
            if own := re.match(rf"[+~]*({OF_A_CHECKPOINT})\b", argument):
                raise ConfigError(f"{argument}: a checkpoint has its own {own[1]}; leave out one of them")
    run("benchmark", BenchmarkConfig, _benchmark, arguments)
    return ExitCode.OK


def _benchmark(config: BenchmarkConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_benchmark
    from segnet.workflows.benchmark import benchmark  # late: a wrong option fails before Lightning is imported

    if config.checkpoint is not None:
        config = replace(config, checkpoint=str(find_model(config.checkpoint)))
    found = benchmark(config)
    found.write(output_dir / "benchmark.json")
    print_benchmark(found)
    say(f"benchmark: {output_dir / 'benchmark.json'}")
