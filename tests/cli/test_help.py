"""`--help` is made from the code, shows every option, and imports neither torch nor Hydra."""

import dataclasses
import subprocess
import sys

import pytest

from segnet.cli.help import CONF_DIR, SCHEMAS, choices_of, field_docs, help_lines


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


@pytest.mark.parametrize("verb", ["train", "evaluate", "inspect", "shard", "benchmark"])
def test_help_imports_neither_torch_nor_hydra(verb):
    code = (
        "import sys\nfrom segnet.cli import _run\n"
        f"assert _run(['--help'], {verb!r}) == 0\n"
        "sys.exit(bool({'torch', 'hydra', 'omegaconf', 'pytorch_lightning', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: segnet {verb}")
