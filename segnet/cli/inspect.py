"""`segnet inspect`: statistics and problems of a dataset -> table, inspection.json, contact_sheet.png."""

from collections.abc import Sequence
from pathlib import Path

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.errors import ExitCode
from segnet.verb_config import InspectConfig


def main(arguments: Sequence[str]) -> int:
    """Inspect a dataset; return exit code 0 if training can start."""
    run("inspect", InspectConfig, _inspect, arguments)
    return ExitCode.OK


def _inspect(config: InspectConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_report  # late: a wrong option fails before Lightning is imported
    from segnet.workflows.inspect import inspect
    from segnet.workflows.inspect_values import has_no_names

    if has_no_names(config):
        _list_values(config, output_dir)
        return
    report = inspect(config, output_dir)
    print_report(report)
    _say_files(output_dir)
    report.require_sound()


def _list_values(config: InspectConfig, output_dir: Path) -> None:
    """List the values of masks without class names, and the options that set these names."""
    from segnet.cli.values_table import print_values
    from segnet.workflows.inspect_values import inspect_values

    report, choice = inspect_values(config, output_dir)
    print_values(report, choice)
    _say_files(output_dir)
    report.require_sound()


def _say_files(output_dir: Path) -> None:
    say(f"inspection: {output_dir / 'inspection.json'}")
    if (output_dir / "contact_sheet.png").exists():
        say(f"contact sheet: {output_dir / 'contact_sheet.png'}")
