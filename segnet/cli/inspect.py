"""`segnet inspect`: what a dataset holds and what is wrong with it -> table, inspection.json, contact_sheet.png."""

from collections.abc import Sequence
from pathlib import Path

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.config import InspectConfig
from segnet.errors import ExitCode


def main(arguments: Sequence[str]) -> int:
    """Inspects what the options say; exit code 0 where a training could begin."""
    run("inspect", InspectConfig, _inspect, arguments)
    return ExitCode.OK


def _inspect(config: InspectConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_report  # after composing: a wrong option need not wait for Lightning
    from segnet.workflows.inspect import inspect

    report = inspect(config, output_dir)
    print_report(report)
    say(f"inspection: {output_dir / 'inspection.json'}")
    if (output_dir / "contact_sheet.png").exists():
        say(f"contact sheet: {output_dir / 'contact_sheet.png'}")
    report.require_sound()
