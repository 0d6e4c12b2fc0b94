"""Options of other tools: the table that the hints use."""

import importlib

from reference_pages.markdown import table

# Values in the table of other tools' options, by the first word of a row.
EXAMPLES = {
    **dict.fromkeys(("epochs", "patience", "save_period"), "50"),
    "iters": "40000",
    "lr": "0.01",
    "optimizer": "adamw",
    "batch": "16",
    "imgsz": "512",
    "workers": "4",
    "resume": "true",
    "pretrained": "false",
    "model": "resnet50_vd",
    "device": "0",
    "gpu": "2",
    "amp": "true",
    "classes": "[cat,dog]",
    "data": "photos",
    "project": "out",
    "val_interval": "5",
    "grad_clip": "1",
    "accumulate": "2",
    "log_interval": "10",
    "freeze": "2",
    "sync_bn": "true",
    "ema": "true",
    "optim": "adamw",
    "cos_lr": "true",
    "dropout": "0.1",
    "ignore_label": "255",
    "tta": "true",
    "half": "true",
    "fmt": "onnx",
    "weights": "best.ckpt",
    "source": "photo.jpg",
    "augment": "street",
    "k": "5",
    "strategy": "entropy",
    "checkpoint": "best.ckpt",
    "groups": "patient",
    "hflip": "0.5",
    "jitter": "0.4",
    "out": "masks",
    "conf": "0.5",
    "min_size": "50",
}


def other_tools_page() -> str:
    foreign = importlib.import_module("segnet.cli.foreign_options")
    parts = [
        "# Options of other tools\n",
        "Options of other tools are refused in one line and with exit code 2, and the line names segnet's option with "
        "your value: `epochs=50` is answered with `Write trainer.max_epochs=50`. `imgsz=512`, `--imgsz 512` and "
        "`--imgsz=512` are answered alike. `--resume` is the exception: `segnet train` takes it as "
        "`checkpoint=auto`.\n",
    ]
    tables = {
        "`segnet train` and `segnet inspect`": "train",
        "`segnet crossval`": "crossval",
        "`segnet evaluate`": "evaluate",
        "`segnet compare`": "compare",
        "`segnet doubt`": "doubt",
        "`segnet average`": "average",
        "`segnet rank`": "rank",
        "`segnet shard`": "shard",
        "`segnet benchmark`": "benchmark",
        "Verbs that take files: `predict`, `serve`, `export`, `convert`, ...": "predict",
    }
    shown: set[tuple[str, str]] = set()
    for title, verb in tables.items():
        rows, seen = [], set[str]()
        for words in foreign.WORDS.get(verb, foreign.FILE_WORDS):
            example = EXAMPLES.get(words.split()[0], "VALUE")
            keys = [key for key in words.split() if key not in seen]  # the first row with a word counts
            seen |= {*keys}
            answers = {key: foreign.in_other_words(verb, key, example).removeprefix(" Write ") for key in keys}
            new = {key: answer for key, answer in answers.items() if (key, answer) not in shown}
            shown |= set(new.items())
            for answer in dict.fromkeys(new.values()):
                first, *others = (key for key in new if new[key] == answer)
                rows.append((", ".join([f"`{first}={example}`", *(f"`{key}`" for key in others)]), f"`{answer}`"))
        more = ", besides those of `segnet train` that it has" if verb not in ("train", "predict") else ""
        parts += [f"## {title}{more}\n", table(rows, ("you write", "write instead"))]
    return "\n".join(parts)
