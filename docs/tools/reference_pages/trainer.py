"""The arguments of Lightning's Trainer: segnet's table, and Lightning's docstring."""

import importlib
import inspect
import re
from typing import Any

from reference_pages.markdown import escaped, sentence, table


def trainer_page() -> str:
    module = importlib.import_module("segnet.trainer_arguments")
    docs = trainer_docs(module)
    taken = [name for name, reason in module.TRAINER_ARGUMENTS.items() if reason == module.ACCEPTED]
    rows = [
        (f"`trainer.{name}`", "yes" if name in module.EVALUATION_ARGUMENTS else "no", escaped(docs.get(name, "")))
        for name in taken
    ]
    refused = [
        (f"`trainer.{name}`", escaped(sentence(reason)))
        for name, reason in module.TRAINER_ARGUMENTS.items()
        if reason != module.ACCEPTED
    ]
    return (
        "# Arguments of the Trainer\n\n"
        "`trainer.*` takes these arguments of Lightning's Trainer. `segnet evaluate` takes those that say where "
        "and how it computes. The texts are Lightning's, except where segnet differs.\n\n"
        + table(rows, ("argument", "in `segnet evaluate`", "what it does"))
        + "\n## Refused arguments\n\nThese are refused in one line and with exit code 2:\n\n"
        + table(refused, ("argument", "why, and what to use instead"))
    )


def trainer_docs(module: Any) -> dict[str, str]:
    """What each argument does: the first sentence of Lightning's text, or segnet's own."""
    doc = inspect.getdoc(importlib.import_module("pytorch_lightning").Trainer.__init__) or ""
    found = {}
    for name, text in re.findall(r"^    (\w+): (.*\n(?:(?: {5,}.*)?\n)*)", doc, flags=re.MULTILINE):
        first = re.split(r"(?<=\.)\s", " ".join(text.split()))[0]
        found[name] = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", first).replace("``", "`")
    return found | {
        "accelerator": "Where to compute: `auto`, `cpu`, `gpu` or `mps`.",
        "strategy": f"How processes work together: {', '.join(f'`{name}`' for name in module.STRATEGIES)}.",
        "devices": "Number of GPUs, or of processes on a CPU. The default is 1.",
        "precision": "As `precision`, which is the better place for it. Lightning's words are taken too.",
        "max_epochs": "Stop after this number of epochs. The default is 50.",
        "max_steps": "Stop after this number of optimizer steps. It counts instead of `max_epochs`.",
        "val_check_interval": "Validate every so many batches (500), or after a fraction of an epoch (0.5).",
        "overfit_batches": "Train and validate on the same few batches, to see whether the model can learn them.",
        "deterministic": "As the option `deterministic`, which is the better place for it.",
        "profiler": "Lightning's profilers, such as `simple`. `profile=true` shows more.",
    }
