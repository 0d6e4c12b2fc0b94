"""Values of other tools' options in answers."""

import re

import pytest

from segnet.cli.arguments import verb_parser
from segnet.cli.composition import _refuse_unknown, composed
from segnet.cli.foreign_options import FILE_WORDS, WORDS, in_other_words
from segnet.cli.help import ALL_OF_TRAIN, SCHEMAS
from segnet.config import Config
from segnet.errors import ConfigError
from segnet.trainer_arguments import check_trainer_arguments


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("pretrained=true", "backbone_weights=imagenet"),
        ("pretrained=False", "backbone_weights=null"),
        ("weights=a.pth", "backbone_weights=a.pth"),
        ("resume=true", "checkpoint=auto"),
        ("resume=runs/a/last.ckpt", "checkpoint=runs/a/last.ckpt"),
        ("device=cpu", "trainer.accelerator=cpu"),
        ("device=cuda", "trainer.accelerator=gpu"),
        ("device=0", "trainer.accelerator=gpu trainer.devices=1"),
        ("device=cuda:1", 'trainer.accelerator=gpu "trainer.devices=[1]"'),
        ("device=0,1", "trainer.accelerator=gpu trainer.devices=2"),
        ("gpus=2", "trainer.accelerator=gpu trainer.devices=2"),
        ("gpus=0,1", "trainer.accelerator=gpu trainer.devices=2"),
        ("amp=true", "precision=bf16"),
        ("amp=false", "precision=float32"),
        ("fp16=true", "precision=fp16"),
        ("classes=5", '"dataset.class_names=[road,tree,car]"'),
        ("classes=[cat,dog]", '"dataset.class_names=[cat,dog]"'),
        ("scheduler=CosineAnnealingLR", "optim.schedule=cosine"),
        ("scheduler=poly", "optim.schedule=poly"),
        ("epochs=", "trainer.max_epochs=..."),
    ],
)
def test_a_value_is_translated(option, answer):
    name, _, value = option.partition("=")
    assert in_other_words("train", name, value) == f" Write {answer}"


@pytest.mark.parametrize(
    ("option", "answer"),
    [
        ("classes=cat,dog", r'classes is not an option of segnet train\. Write "dataset\.class_names=\[cat,dog\]"$'),
        ("data=photos", r"data=photos: data is a section of options\. Write dataset=folder dataset\.root=photos$"),
        ("early_stopping=5", r"Write early_stopping\.patience=5$"),
        ("validation=5", r"is a section of options\. Write validation\.NAME=VALUE, see segnet train --help$"),
    ],
)
def test_lists_and_sections_are_answered_too(option, answer):
    with pytest.raises(ConfigError, match=answer):
        composed("train", Config, ["dataset=shapes", option])


def test_a_checkpoint_is_not_taken_for_weights_of_a_backbone():
    for word in ("weights", "model"):
        assert in_other_words("evaluate", word, "best.ckpt") == " Write checkpoint=best.ckpt"
    assert in_other_words("evaluate", "imgsz", "512").startswith(' Write "scales=[FACTOR]" for another size')
    assert in_other_words("benchmark", "imgsz", "512") == " Write image_size=512"
    assert in_other_words("predict", "weights", "best.ckpt") == " Write --checkpoint best.ckpt"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--epochs", "1", "--batch", "4", "--imgsz", "128"],
            "epochs, batch and imgsz are not options of segnet train. "
            "Write trainer.max_epochs=1 data.batch_size=4 data.crop_size=128",
        ),
        (
            ["--project", "foo", "--lr", "1", "--name", "bar"],
            "project, lr and name are not options of segnet train. Write optim.lr=1 hydra.run.dir=foo/bar",
        ),
        (["--name", "bar"], "name is not an option of segnet train. Write hydra.run.dir=bar"),
        (["--weights", "best.ckpt"], "weights is not an option of segnet train. Write init_from=best.ckpt"),
        (
            ["--config", "a/x.yaml"],
            "config is not an option of segnet train. "
            "Write --config-dir FOLDER experiment=x, for a file in FOLDER/experiment",
        ),
        (
            ["dataset.root=mine", "--data", "mine"],
            "data=mine: the dataset has the folder mine already: leave it out",
        ),
        (
            ["dataset.root=mine", "--data", "mine", "--epochs", "1"],
            "data and epochs are not options of segnet train. "
            "Write trainer.max_epochs=1. Leave out data: the dataset has the folder mine already",
        ),
    ],
)
def test_all_foreign_options_of_a_command_line_are_answered_in_one_line(arguments, message):
    with pytest.raises(ConfigError) as caught:
        composed("train", Config, ["dataset=shapes", *arguments])
    assert str(caught.value) == message


@pytest.mark.parametrize("verb", WORDS)
def test_answers_name_options_that_the_verb_has(verb):
    for words, answer in WORDS[verb].items():
        if "in segnet " in answer or words == "config config_file cfg_file":  # of another verb; a switch
            continue
        options = re.findall(r"(?<![\w.])([a-z][\w.]*)=", answer)
        _refuse_unknown(SCHEMAS[verb], verb, [f"{option}=1" for option in options])
        trainer = {option.partition(".")[2]: 1 for option in options if option.startswith("trainer.")}
        trainer.pop("val_check_interval", None)
        check_trainer_arguments(trainer, evaluates=verb not in ALL_OF_TRAIN)


@pytest.mark.parametrize("verb", ["predict", "serve", "export", "convert", "info", "models", "backbones", "doctor"])
def test_answers_name_options_that_a_verb_of_files_has(verb):
    parser = verb_parser(verb)
    for word in " ".join(FILE_WORDS).split():
        option = f"--{word.replace('_', '-')}"
        if any(known.startswith(option) for known in parser._option_string_actions):
            continue  # argparse takes abbreviations
        with pytest.raises(ConfigError) as caught:
            parser.parse_args(["a.ckpt", "--output", "b.ckpt", option, "1"][0 if verb == "convert" else 3 :])
        named = set(re.findall(r"(?<!\S)--[a-z0-9-]+", str(caught.value))) - {option, "--help"}
        assert named <= set(parser._option_string_actions)
        assert verb != "serve" or "without a name" not in str(caught.value)  # it takes no images


def test_shard_and_evaluate_do_not_suggest_options_of_other_verbs():
    assert in_other_words("shard", "imgsz", "512") == ""
    assert in_other_words("shard", "save_dir", "x") == " Write output=x"
    assert in_other_words("evaluate", "lr", "0.1") == ""
    assert in_other_words("evaluate", "gpus", "1") == " Write trainer.accelerator=gpu trainer.devices=1"
