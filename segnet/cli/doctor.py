"""`segnet doctor`: checks of the installation, one line each."""

from collections.abc import Sequence

from segnet.cli.arguments import Parser
from segnet.cli.output import say
from segnet.errors import ExitCode


def main(arguments: Sequence[str]) -> int:
    """Print all checks; return exit code 5 if one found a problem."""
    options = build_parser().parse_args(arguments)
    from segnet.workflows.doctor import OK, PROBLEM, diagnose  # late: --help stays fast

    problems = 0
    for check in diagnose():
        problems += check.state == PROBLEM
        if check.state != OK or not options.quiet:
            say(f"{check.state:8s}{check.name:26s}{check.text}")
    print("no problem found" if not problems else f"{problems} problem{'s' if problems > 1 else ''} found")
    return ExitCode.MACHINE if problems else ExitCode.OK


def build_parser() -> Parser:
    """Build the parser of `segnet doctor`."""
    parser = Parser(
        prog="segnet doctor",
        description="Checks this installation: Python, torch, GPU, version conflicts, extras, memory, cache folders. "
        "Each problem is one line with the command that fixes it; the exit code is then 5.",
    )
    parser.add_argument("--quiet", action="store_true", help="print notes and problems only")
    return parser
