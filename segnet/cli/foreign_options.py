"""Option names of other tools, and the option of segnet that answers each."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

from segnet.cli.foreign_values import translated
from segnet.cli.help import ALL_OF_TRAIN, SCHEMAS, option_names
from segnet.errors import ConfigError
from segnet.trainer_arguments import accepted_arguments

NAMES_RUN_FOLDER, NAMES_DATASET_FOLDER = "hydra.run.dir=", "dataset.root="

# Option names of other tools -> segnet's option. {value} stands for the given value.
_TRAIN_WORDS = {
    "epochs max_epochs num_epochs n_epochs": "trainer.max_epochs={value}",
    "iters max_iters iterations steps max_steps num_steps": "trainer.max_steps={value}",
    "lr lr0 learning_rate base_lr": "optim.lr={value}",
    "optimizer": "optim.name={value}",
    "batch batch_size bs train_batch_size": "data.batch_size={value}",
    "imgsz img_size image_size input_size crop crop_size": "data.crop_size={value}",
    "workers num_workers": "data.num_workers={value}",
    "resume resume_from": "checkpoint={value}",
    "pretrained weights pretrained_weights": "backbone_weights={value}",
    "model arch encoder encoder_name": "backbone={value}",
    "device accelerator": "trainer.accelerator={value}",
    "gpu gpus devices num_gpus": "trainer.accelerator=gpu trainer.devices={value}",
    "amp fp16 half mixed_precision bf16": "precision={value}",
    "classes names class_names num_classes nc": '"dataset.class_names={value}"',
    "data root data_root data_dir dataset_root path": "dataset=folder dataset.root={value}",
    "project name save_dir work_dir output output_dir out_dir run_dir": "hydra.run.dir={value}",
    "patience early_stopping": "early_stopping.patience={value}",
    "save_period save_interval save_freq": "checkpoint_every={value}",
    "log_interval print_freq": "trainer.log_every_n_steps={value}",
    "freeze": "frozen_stages={value}",
    "sync_bn syncbn": "norm.name=sync_batch",
    "ema model_ema": "ema.decay=0.999",
    "optim": "optim.name={value}",
    "cos_lr scheduler lr_scheduler": "optim.schedule={value}",
    "dropout": "decoder.dropout={value}",
    "ignore_label ignore_index": "dataset.ignore_index={value}",
    "val_interval eval_interval": "trainer.check_val_every_n_epoch={value}",
    "grad_clip clip_grad": "trainer.gradient_clip_val={value}",
    "tta": '..., in segnet evaluate: flip=true "scales=[0.75,1.0,1.25]"',
    "augment augmentation augmentations aug transforms": "data.augment={value}",
    "hflip fliplr": "data.flip={value}",
    "jitter": "data.color_jitter={value}",
    "config config_file cfg_file": "--config-dir FOLDER experiment={value}, for a file in FOLDER/experiment",
    "accumulate accumulation": "trainer.accumulate_grad_batches={value}",
}
OWN_SIZE = "for another size: images are predicted at their own size"
_CHECKPOINT_WORDS = {
    "weights model pretrained ckpt": "checkpoint={value}",
    "tta augment": 'flip=true "scales=[0.75,1.0,1.25]"',
}
_SIZE_WORDS = {"imgsz img_size image_size input_size": f'"scales=[FACTOR]" {OWN_SIZE}'}
_EVALUATE_WORDS = _CHECKPOINT_WORDS | _SIZE_WORDS
_BENCHMARK_WORDS = {
    **_CHECKPOINT_WORDS,
    "imgsz img_size crop_size input_size": "image_size={value}",
    "batch bs": "batch_size={value}",
}
_RANK_WORDS = {
    "k budget n top num": "number={value}",
    "strategy query acquisition": "method={value}",
    "source input inputs image img folder": "{value}, without a name before it",
    **_CHECKPOINT_WORDS,
    "batch bs": "batch_size={value}",
    "imgsz img_size image_size": f'"scales=[FACTOR]" {OWN_SIZE}',
    "tile tile_size": "window={value}",
    **{words: option for words, option in _TRAIN_WORDS.items() if words.startswith(("data ", "project "))},
}
FILE_WORDS = {
    "weights model pretrained ckpt": "--checkpoint {value}",
    "tta augment": "--flip --scales 0.75 1.0 1.25",
    "source input inputs image images data": "{value}, without a name before it",
    "imgsz img_size image_size": f"--scales FACTOR {OWN_SIZE}",
    "tile tile_size": "--window {value}",
    "batch bs": "--batch-size {value}",
    "half fp16 amp": "--precision fp16",
    "out out_dir output_dir save_dir project": "--output {value}",
    "fmt": "--format {value}",
    "conf conf_thres confidence": "--refuse {value}",
    "min_size min_region_area": "--min-area {value}",
}
IMAGE_VERBS = ("predict", "convert", "info")  # verbs whose positional arguments are the files to work on
_NAMED = re.compile(r"(?<![\w.])([a-z][\w.]*)=")
_ALL_WORDS = {
    "train": _TRAIN_WORDS,
    "crossval": {"k n_splits n_folds num_folds": "folds={value}", "groups group_by": "group={value}", **_TRAIN_WORDS},
    "inspect": _TRAIN_WORDS,
    "evaluate": _EVALUATE_WORDS | _TRAIN_WORDS | _EVALUATE_WORDS,  # the first row with a word counts
    "compare": {
        "checkpoint weights model ckpt": "{value}, without a name before it",
        "tta augment": _CHECKPOINT_WORDS["tta augment"],
        **_SIZE_WORDS,
        **_TRAIN_WORDS,
    },
    "doubt": {"images top": "num_images={value}", **_EVALUATE_WORDS, **_TRAIN_WORDS},
    "average": _CHECKPOINT_WORDS | _TRAIN_WORDS | _CHECKPOINT_WORDS,
    "rank": _RANK_WORDS,
    "shard": {"out out_dir output_dir save_dir": "output={value}", **_TRAIN_WORDS},
    "benchmark": _BENCHMARK_WORDS | _TRAIN_WORDS | _BENCHMARK_WORDS,
}


def _has(verb: str, answer: str) -> bool:
    """Whether a verb has all options that an answer names."""
    if "in segnet " in answer:  # it names the options of another verb
        return True
    schema = SCHEMAS["train" if verb in ALL_OF_TRAIN else verb]
    known = {*option_names(schema), *(option_names(SCHEMAS[verb]))}
    closed = {option.name for option in dataclasses.fields(schema) if dataclasses.is_dataclass(option.type)}
    for name in _NAMED.findall(answer):
        section, _, rest = name.partition(".")
        if name.startswith("hydra.") or name in known or (name == "experiment" and verb in ALL_OF_TRAIN):
            continue
        if not rest or section not in known - closed:
            return False
        if section == "trainer" and rest not in accepted_arguments(evaluates=verb not in ALL_OF_TRAIN):
            return False
    return True


# Verb -> option names of other tools -> segnet's option, which the verb has.
WORDS = {
    verb: {words: answer for words, answer in table.items() if _has(verb, answer)} for verb, table in _ALL_WORDS.items()
}


def in_other_words(verb: str, word: str, value: str = "", known: Collection[str] | None = None) -> str:
    """Return segnet's option for an option of another tool (" Write optim.lr=0.1"); empty for an unknown word.

    Args:
        known: the options of a verb that takes files, such as "--scales"; None: an answer may name any.
    """
    answer = _our_option(verb, word, value)
    if known is not None:
        named = re.findall(r"(?<!\S)--[a-z0-9-]+", answer)
        if not set(named) <= set(known) or (not named and verb not in IMAGE_VERBS):
            return ""
    return f" Write {answer}" if answer else ""


def _our_option(verb: str, word: str, value: str) -> str:
    key = word.lstrip("-+~").replace("-", "_").lower()
    for words, ours in WORDS.get(verb, FILE_WORDS).items():
        if key in words.split():
            if ours.startswith("backbone_weights=") and value.endswith(".ckpt"):  # a whole model, not a backbone
                return f"init_from={value}"
            return ours.format(value=translated(ours, key, value))
    return ""


def refuse_foreign(verb: str, words: Mapping[str, str], roots: Sequence[str]) -> None:
    """Refuse options of other tools: all of a command line in one message.

    Args:
        words: the unknown options with their values.
        roots: values of dataset.root on the command line.

    Raises:
        ConfigError: several of other tools' options, or a second folder of the dataset.
    """
    answers = {word: answer for word, value in words.items() if (answer := _our_option(verb, word, value))}
    repeated = [word for word, answer in answers.items() if roots and NAMES_DATASET_FOLDER in answer]
    reason = f"the dataset has the folder {roots[0]} already" if repeated else ""
    if repeated and len(words) == 1:
        raise ConfigError(f"{repeated[0]}={words[repeated[0]]}: {reason}: leave it out")
    if len(answers) < 2:
        return
    written = [answer for word, answer in answers.items() if word not in repeated]
    folders = [answer.removeprefix(NAMES_RUN_FOLDER) for answer in written if answer.startswith(NAMES_RUN_FOLDER)]
    options = [answer for answer in written if not answer.startswith(NAMES_RUN_FOLDER)]
    options += [NAMES_RUN_FOLDER + "/".join(folders)] if folders else []
    text = ("; " if any(", " in option for option in options) else " ").join(dict.fromkeys(options))
    advice = [f"Write {text}"] if text else []
    advice += [f"Leave out {' and '.join(repeated)}: {reason}"] if repeated else []
    *first, last = answers
    raise ConfigError(f"{', '.join(first)} and {last} are not options of segnet {verb}. {'. '.join(advice)}")
