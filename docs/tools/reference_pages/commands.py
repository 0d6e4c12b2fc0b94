"""The commands: their argparse parsers."""

import argparse
from collections.abc import Iterator

from reference_pages.markdown import escaped, sentence, table

from segnet.cli import VERBS
from segnet.cli.arguments import verb_parser
from segnet.cli.help import SCHEMAS, SWITCH_HELP, USAGE


def commands_page() -> str:
    parts = [
        "# Commands\n",
        "`python -m segnet VERB ...` is the same as `segnet VERB ...`. In a clone, `python train.py` is "
        "`segnet train`, and `python predict.py` is `segnet predict`.\n",
        table(
            [
                (f"[`{verb}`](#segnet-{verb})", escaped(sentence(text.partition(":")[0])))
                for verb, text in VERBS.items()
            ],
            ("verb", "what it does"),
        ),
        "Every verb ends with one of the [exit codes](exit-codes.md). An error is one line on stderr.\n",
    ]
    for verb, text in VERBS.items():
        parts.append(f"## segnet {verb}\n")
        if verb in SCHEMAS:
            what = sentence(text.partition(":")[0])
            parts.append(f"{what} Its options are [listed here](options.md#segnet-{verb}).\n")
            parts.append(f"```text\n{USAGE[verb]}\n```\n")
        else:
            parts.append(parser_text(verb_parser(verb)))
    verbs = ", ".join(f"`{verb}`" for verb in SCHEMAS)
    switches = [(f"`{name}`", escaped(sentence(text))) for name, text in SWITCH_HELP.items()]
    parts += [f"## Switches\n\nThese work with {verbs}:\n", table(switches, ("switch", "what it does"))]
    return "\n".join(parts)


def parser_text(built: argparse.ArgumentParser) -> str:
    built.formatter_class = lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=88)
    rows = []
    for action in visible(built):
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = "" if not action.option_strings or action.nargs == 0 else str(action.metavar or choices(action))
        rows.append((f"`{f'{name} {value}'.strip()}`", escaped(help_text(action))))
    epilog = f"```text\n{built.epilog.rstrip()}\n```\n" if built.epilog else ""
    usage = built.format_usage().removeprefix("usage: ")
    return f"{built.description}\n\n```text\n{usage}```\n\n{table(rows)}\n{epilog}"


def visible(built: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All actions of a parser but its --help."""
    for action in built._actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
            yield action


def choices(action: argparse.Action) -> str:
    return action.dest.upper() if action.choices is None else "|".join(map(str, action.choices))


def help_text(action: argparse.Action) -> str:
    text = action.help or ""
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") or not text else ".")
