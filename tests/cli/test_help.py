"""`--help` is generated from the code, shows every option, and imports neither torch nor Hydra."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from segnet.choices import EXPORT_SUFFIXES, IMAGE_KINDS, WEB
from segnet.cli import VERBS
from segnet.cli.help import CONF_DIR, SCHEMAS, choices_of, field_docs, help_lines

ROOT = Path(__file__).resolve().parents[2]


def options_of(schema, prefix=""):
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            yield from options_of(field.type, f"{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.mark.parametrize("verb", SCHEMAS)
def test_every_option_is_shown_with_its_text(verb):
    text = "\n".join(help_lines(verb, 100))
    for option in options_of(SCHEMAS[verb]):
        assert f"\n  {option}" in text, option
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("verb", SCHEMAS)
def test_every_option_has_a_text(verb):
    schema = SCHEMAS[verb]
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            assert set(field_docs(field.type)) == {inner.name for inner in dataclasses.fields(field.type)}
        else:
            assert field.name in field_docs(schema)


def test_choices_are_the_files_of_conf():
    assert "resnet50_vd" in choices_of("backbone")
    assert CONF_DIR.joinpath("backbone", "resnet50_vd.yaml").is_file()
    text = "\n".join(help_lines("train", 100))
    assert "camvid_resnet18_vd" in text
    assert "optim.lr=0." in text
    assert "--multirun" in text


HEAVY = {"torch", "numpy", "cv2", "PIL", "pytorch_lightning", "albumentations"}  # they take seconds
SPY = f"""import atexit, os, sys
exit = os._exit
def report(*codes):
    print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr, flush=True)
    codes and exit(*codes)
atexit.register(report)
os._exit = report  # train.py and predict.py end by it, without functions of atexit from before their start
"""


def loaded(code, *arguments):
    """Run Python code in a process of its own: (exit code, stdout, the last line of stderr: heavy modules)."""
    done = subprocess.run([sys.executable, "-c", SPY + code, *arguments], capture_output=True, text=True, cwd=ROOT)
    return done.returncode, done.stdout, done.stderr.splitlines()[-1]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_imports_nothing_heavy(verb):
    code, text, heavy = loaded("from segnet.cli import main; main()", verb, "--help")
    assert (code, heavy) == (0, "[]")
    assert text.startswith(f"usage: segnet {verb}")


@pytest.mark.parametrize("program", ["train.py", "predict.py"])
def test_help_of_the_programs_imports_nothing_heavy(program):
    code, text, heavy = loaded("import runpy; runpy.run_path(sys.argv.pop(1), run_name='__main__')", program, "--help")
    assert (code, heavy) == (0, "[]")
    assert text.startswith(f"usage: segnet {program.removesuffix('.py')}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["predict", "a.png", "--no-such-option"],
        ["serve", "--port", "99999"],
        ["export", "best.ckpt", "--format", "tflite"],
        ["export", "best.ckpt", "--output", "model.bin"],
        ["convert", "model.pth"],
        ["info"],
        ["doctor", "now"],
        ["train", "foo=1"],
        ["evaluate"],
        ["benchmark", "checkpoint=a.ckpt", "backbone=resnet50"],
    ],
    ids=" ".join,
)
def test_wrong_options_are_answered_before_anything_heavy_is_imported(arguments):
    code, _, heavy = loaded("from segnet.cli import main; main()", *arguments)
    assert (code, heavy) == (0 if arguments == ["--version"] else 2, "[]")


def test_values_that_the_help_shows_are_those_of_the_code():
    from segnet.data import DATASETS
    from segnet.exporters import EXPORTERS
    from segnet.prediction.outputs import WRITERS

    assert choices_of("dataset") == sorted(DATASETS)
    assert tuple(EXPORT_SUFFIXES) == (*EXPORTERS, WEB)
    assert tuple(WRITERS) == IMAGE_KINDS
