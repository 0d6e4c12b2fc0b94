"""`name=value`, `--name value` and a positional checkpoint are equivalent for every verb."""

import re

import pytest

from segnet.cli.arguments import Parser, one_checkpoint, split_models
from segnet.cli.composition import composed
from segnet.cli.grammar import in_other_words, to_overrides
from segnet.cli.predict_options import parse
from segnet.config import Config
from segnet.errors import ConfigError
from segnet.verb_config import BenchmarkConfig, CompareConfig, EvaluateConfig, InspectConfig


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        (["optim.lr=0.1"], ["optim.lr=0.1"]),
        (["--optim.lr", "0.1"], ["optim.lr=0.1"]),
        (["--optim.lr=0.1", "seed=3"], ["optim.lr=0.1", "seed=3"]),
        (["--init-from", "a b.ckpt"], ["init_from=a b.ckpt"]),
        (["--deterministic", "seed=3"], ["deterministic=true", "seed=3"]),
        (["--deterministic", "false"], ["deterministic=false"]),
        (["--resume"], ["checkpoint=auto"]),
        (["--resume", "runs/a/last.ckpt"], ["checkpoint=runs/a/last.ckpt"]),
        (["data.crop_size=128"], ["data.crop_size=[128,128]"]),
        (["--data.crop-size", "128"], ["data.crop_size=[128,128]"]),
        (["--multirun", "seed=1,2"], ["--multirun", "seed=1,2"]),
        (["--config-dir", "mine", "-c", "job"], ["--config-dir", "mine", "-c", "job"]),
        (["~logger"], ["~logger"]),
    ],
)
def test_train_takes_both_forms(arguments, overrides):
    assert to_overrides("train", Config, arguments) == overrides


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        (["runs/a/best.ckpt"], ["checkpoint=runs/a/best.ckpt"]),
        (["my run/best.ckpt"], ["checkpoint='my run/best.ckpt'"]),
        (["--checkpoint", "best.ckpt", "--flip"], ["checkpoint=best.ckpt", "flip=true"]),
        (["--flip", "best.ckpt"], ["flip=true", "checkpoint=best.ckpt"]),
        (["--scales", "0.75", "1", "1.25", "best.ckpt"], ["scales=[0.75,1,1.25]", "checkpoint=best.ckpt"]),
        (["--threshold", "disk=0.3", "best.ckpt"], ["checkpoint=best.ckpt", "threshold='disk=0.3'"]),
        (["threshold=a=0.3,b=0.6", "--threshold", "c=1"], ["threshold='a=0.3,b=0.6,c=1'"]),
        (["threshold=[a=0.3,b=0.6]", "--min-area", "50"], ["threshold='a=0.3,b=0.6'", "min_area=50"]),
        (["min_area=50,disk=10", "--flip"], ["flip=true", "min_area='50,disk=10'"]),
        (["threshold={disk:0.3}", "min_area=null"], ["threshold={disk:0.3}", "min_area=null"]),
    ],
)
def test_evaluate_takes_its_options_in_every_form(arguments, overrides):
    assert to_overrides("evaluate", EvaluateConfig, arguments) == overrides


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        (["a.ckpt", "b.ckpt"], ["first=[a.ckpt]", "second=[b.ckpt]"]),
        (["runs/a", "my run", "--split", "test"], ["split=test", "first=[runs/a]", "second=['my run']"]),
        (["--flip", "a1", "a2", "--", "b1", "draws=2000"], ["flip=true", "draws=2000", "first=[a1,a2]", "second=[b1]"]),
        (["first=[a]", "second=[b]"], ["first=[a]", "second=[b]"]),
    ],
)
def test_compare_takes_two_sides(arguments, overrides):
    assert to_overrides("compare", CompareConfig, arguments) == overrides


@pytest.mark.parametrize("arguments", [["a"], ["a", "b", "c"], ["a", "--"], ["--", "b"], ["a", "--", "b", "--", "c"]])
def test_compare_refuses_other_than_two_sides(arguments):
    with pytest.raises(ConfigError, match="segnet compare A1 A2 A3 -- B1 B2 B3"):
        to_overrides("compare", CompareConfig, arguments)


RUN = ("best.ckpt", "last.ckpt", "config.yaml")


@pytest.mark.parametrize(("verb", "schema"), [("inspect", InspectConfig), ("train", Config)])
@pytest.mark.parametrize(
    ("arguments", "reader"),
    [
        (["my data"], "folder"),
        (["my data", "dataset=voc"], "voc"),
        (["--dataset", "voc", "my data"], "voc"),
    ],
)
def test_a_positional_folder_is_the_root_of_the_dataset(tmp_path, monkeypatch, verb, schema, arguments, reader):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data").mkdir()
    names = ["dataset.class_names=[a,b]"] if reader == "folder" else []
    config = composed(verb, schema, [*arguments, *names])
    assert (config.dataset["name"], config.dataset["root"]) == (reader, "my data")
    once = to_overrides(verb, schema, arguments)
    assert to_overrides(verb, schema, once) == once


@pytest.mark.parametrize("arguments", [["a", "b"], ["a", "dataset.root=b"], ["--dataset.root", "b", "a"]])
def test_two_folders_are_refused(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match=r"^b: a dataset has one folder, and a is given too"):
        to_overrides("inspect", InspectConfig, arguments)


@pytest.mark.parametrize(
    ("verb", "schema", "files", "answer"),
    [
        ("train", Config, RUN, "checkpoint=run/last.ckpt resumes it, init_from=run/best.ckpt fine-tunes its model"),
        ("train", Config, RUN[1:], "checkpoint=run/last.ckpt resumes it, init_from=run/last.ckpt fine-tunes its model"),
        ("evaluate", EvaluateConfig, RUN, "write checkpoint=run/best.ckpt"),
        ("evaluate", EvaluateConfig, RUN[1:], "write checkpoint=run/last.ckpt"),
        ("benchmark", BenchmarkConfig, RUN, "write checkpoint=run/best.ckpt"),
        ("inspect", InspectConfig, RUN, "name the folder of its dataset"),
    ],
)
def test_a_run_folder_by_position_is_answered_with_its_checkpoints(tmp_path, monkeypatch, verb, schema, files, answer):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in files:
        (tmp_path / "run" / name).touch()
    with pytest.raises(ConfigError, match=rf"^run is the folder of a run: {re.escape(answer)}$"):
        to_overrides(verb, schema, ["run"])
    (tmp_path / "run" / "config.yaml").unlink()  # a folder of images with a checkpoint beside them
    if verb in ("train", "inspect"):
        assert to_overrides(verb, schema, ["run"]) == ["dataset=folder", "dataset.root=run"]


def test_evaluate_takes_no_folder_by_position(tmp_path):
    with pytest.raises(ConfigError, match=r"write dataset=folder dataset\.root="):
        to_overrides("evaluate", EvaluateConfig, [str(tmp_path)])


def test_a_path_with_spaces_reaches_the_configuration():
    config = composed("evaluate", EvaluateConfig, ["my run's/best, last.ckpt", "dataset=shapes"])
    assert config.checkpoint == "my run's/best, last.ckpt"


def test_translation_is_idempotent():
    once = to_overrides("benchmark", BenchmarkConfig, ["a b.ckpt", "--image-size", "64"])
    assert once == ["checkpoint='a b.ckpt'", "image_size=[64,64]"]
    assert to_overrides("benchmark", BenchmarkConfig, once) == once


@pytest.mark.parametrize(
    ("argument", "answer"),
    [
        ("epochs=3", "Write trainer.max_epochs=3"),
        ("lr=0.1", "Write optim.lr=0.1"),
        ("batch=4", "Write data.batch_size=4"),
        ("batch_size=4", "Write data.batch_size=4"),
        ("imgsz=512", "Write data.crop_size=512"),
        ("resume=true", "Write checkpoint=auto"),
        ("pretrained=w.pth", "Write backbone_weights=w.pth"),
        ("weights=w.pth", "Write backbone_weights=w.pth"),
        ("device=0", "Write trainer.accelerator=gpu"),
        ("classes=3", 'Write "dataset.class_names='),
        ("--tta", "segnet evaluate: flip=true"),
        ("augment=street", "Write data.augment=street"),
        ("amp=true", "Write precision=bf16"),
        ("workers=4", "Write data.num_workers=4"),
        ("max_iters=100", "Write trainer.max_steps=100"),
        ("momentum=1", "Did you mean 'optim.momentum'?"),
        ("dataset.class_names=a,b", '"dataset.class_names=[a,b]"'),
        ("data.crop_size=128x", "must be a list in brackets"),
        ("best.ckpt", "init_from=best.ckpt fine-tunes it"),
        ("foo", "'foo' is not an option"),
    ],
)
def test_options_of_other_tools_get_a_suggestion(argument, answer):
    with pytest.raises(ConfigError) as error:
        composed("train", Config, [argument])
    assert answer in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def parser():
    parser = Parser(prog="segnet predict")
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--save")
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--scales", type=float, nargs="+")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--window", type=int)
    parser.add_argument("--checkpoint")
    return parser


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "--save", "mask,csv", "--flip", "--scales", "0.5", "1", "--batch-size", "2"],
        ["a.png", "save=[mask,csv]", "flip=true", "scales=[0.5, 1]", "batch_size=2"],
        ["scales=[0.5,1]", "a.png", "save=mask,csv", "--flip", "--batch-size=2"],
    ],
)
def test_file_verbs_take_both_forms(parser, arguments):
    options = parser.parse_args(arguments)
    assert (options.inputs, options.save, options.flip) == (["a.png"], "mask,csv", True)
    assert (options.scales, options.batch_size) == ([0.5, 1.0], 2)


def test_a_file_whose_name_looks_like_an_option_is_a_file(parser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "save=mask").touch()
    assert parser.parse_args(["save=mask"]).inputs == ["save=mask"]


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["a.png", "--tta"], "Write --flip --scales"),
        (["--imgsz", "512", "a.png"], "Write --scales FACTOR for another size: images are predicted at their own size"),
        (["--tile", "512", "a.png"], "Write --window 512; see --help"),
        (["--source", "few"], "Write few, without a name before it; see --help"),
        (["--weights", "best.ckpt"], "Write --checkpoint best.ckpt"),
        (["flip=maybe"], "must be flip=true or flip=false"),
    ],
)
def test_file_verbs_suggest_options_for_those_of_other_tools(parser, arguments, answer):
    with pytest.raises(ConfigError, match=answer):
        parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "checkpoint"),
    [
        (["a.ckpt", "b.ckpt"], "[a.ckpt,b.ckpt]"),
        (["--checkpoint", "a.ckpt", "--checkpoint", "b.ckpt"], "[a.ckpt,b.ckpt]"),
        (["--checkpoint", "a.ckpt", "b.ckpt", "--flip"], "[a.ckpt,b.ckpt]"),
        (["checkpoint=[a.ckpt,'my run/b.ckpt']"], "[a.ckpt,'my run/b.ckpt']"),
        (["checkpoint=[a.ckpt,b.ckpt]", "my run/c.ckpt"], "[a.ckpt,b.ckpt,'my run/c.ckpt']"),
    ],
)
def test_evaluate_takes_several_checkpoints_in_every_form(arguments, checkpoint):
    found = to_overrides("evaluate", EvaluateConfig, arguments)
    assert [word for word in found if word.startswith("checkpoint=")] == [f"checkpoint={checkpoint}"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.png", "--checkpoint", "a.ckpt", "b.ckpt"],
        ["a.png", "--checkpoint", "a.ckpt", "--checkpoint", "b.ckpt"],
        ["a.png", "checkpoint=[a.ckpt,b.ckpt]"],
        ["a.ckpt", "b.ckpt", "a.png"],
    ],
)
def test_predict_takes_several_checkpoints_in_every_form(arguments):
    options = parse(arguments)
    assert (options.inputs, options.checkpoint) == (["a.png"], ["a.ckpt", "b.ckpt"])


def test_two_checkpoints_are_refused():
    assert split_models(["a.png", "best.ckpt"]) == (["a.png"], ["best.ckpt"])
    assert one_checkpoint("predict", None, "a.ckpt") == "a.ckpt"
    assert one_checkpoint("predict", None) is None
    with pytest.raises(ConfigError, match="two checkpoints"):
        one_checkpoint("predict", "a.ckpt", "b.ckpt")


def test_weights_of_an_evaluation_are_a_checkpoint_not_those_of_a_backbone():
    assert in_other_words("evaluate", "weights", "a.ckpt") == " Write checkpoint=a.ckpt"
    assert in_other_words("evaluate", "augment", "true") == ' Write flip=true "scales=[0.75,1.0,1.25]"'
    assert in_other_words("train", "augment", "aerial") == " Write data.augment=aerial"


@pytest.mark.parametrize(
    ("arguments", "paths"),
    [
        (["unlabeled=photos/"], ["photos/"]),
        (["unlabelled=photos/"], ["photos/"]),
        (["--unlabelled", "photos/*.jpg"], ["photos/*.jpg"]),
        (["unlabeled=[a,b]"], ["a", "b"]),
        (["unlabelled='a b'"], ["a b"]),
        (["unlabeled=my photos, 2"], None),
        (["unlabelled=null"], None),
    ],
)
def test_one_path_without_masks_is_a_list_and_both_spellings_are_taken(arguments, paths):
    if paths is None and "null" not in arguments[0]:
        with pytest.raises(ConfigError, match="a list has brackets"):
            composed("train", Config, arguments)
    else:
        assert composed("train", Config, arguments).unlabeled == paths
