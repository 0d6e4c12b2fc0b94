"""The generated pages of the reference cover the code."""

import argparse
import dataclasses
import functools
import inspect
import re
import shlex

import pytest
from reference_pages.commands import commands_page, visible
from reference_pages.components import TABLES, components, components_page, supplied
from reference_pages.models import models_page
from reference_pages.options import options_page
from reference_pages.other_tools import other_tools_page
from reference_pages.trainer import trainer_page

from segnet.cli import VERBS
from segnet.cli.arguments import verb_parser
from segnet.cli.composition import composed
from segnet.cli.foreign_options import FILE_WORDS, WORDS, in_other_words
from segnet.cli.help import CONF_DIR, SCHEMAS, field_docs
from segnet.config import Config
from segnet.trainer_arguments import TRAINER_ARGUMENTS
from segnet.weights.zoo import PUBLISHED_MODELS

cached_page, cached_supplied = map(functools.cache, (components_page, supplied))


def test_every_option_of_every_verb_is_on_the_options_page():
    page = options_page()
    for schema in SCHEMAS.values():
        for field in dataclasses.fields(schema):
            if dataclasses.is_dataclass(field.type):
                for inner in dataclasses.fields(field.type):
                    assert f"| `{field.name}.{inner.name}`<br>" in page
            else:
                assert f"| `{field.name}`<br>" in page


def test_every_option_has_a_description():
    missing = [
        f"{schema.__name__}.{field.name}"
        for schema in {*SCHEMAS.values(), *sections()}
        for field in dataclasses.fields(schema)
        if not dataclasses.is_dataclass(field.type) and not field_docs(schema).get(field.name)
    ]
    assert missing == []


def sections():
    return {
        field.type
        for schema in SCHEMAS.values()
        for field in dataclasses.fields(schema)
        if dataclasses.is_dataclass(field.type)
    }


def test_every_published_model_is_on_its_page():
    page = models_page()
    for model in PUBLISHED_MODELS:
        assert f"| `{model.name}` | {model.miou:.1f} |" in page
        assert model.url in page


def test_the_answers_to_options_of_other_tools_are_options():
    page = other_tools_page().partition("## `segnet crossval`")[0]
    answers = re.findall(r"\| `([^`]+)` \|$", page, flags=re.MULTILINE)
    options = [word for answer in answers if answer[0] not in ".-" for word in shlex.split(answer)]
    assert len(options) > 25
    assert composed("train", Config, options).trainer["max_steps"] == 40000


def test_every_option_of_another_tool_is_on_its_page():
    rows = [line.partition(" | ") for line in other_tools_page().splitlines() if line.startswith("| `")]
    for verb, table in {**WORDS, "predict": FILE_WORDS}.items():
        for word in " ".join(table).split():
            answers = [answer for words, _, answer in rows if re.search(rf"`{word}(=[^`]*)?`", words)]
            option = re.split("[ =9]", in_other_words(verb, word, "9").removeprefix(" Write ").strip('"'))[0]
            assert any(option in answer for answer in answers), (verb, word)


def test_every_argument_of_the_trainer_is_on_its_page():
    page = trainer_page()
    for name, reason in TRAINER_ARGUMENTS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `trainer.{name}` |"))
        text = row.rpartition(" | ")[2].removesuffix(" |")
        assert text
        assert not reason or text.lower().startswith(reason[:20].lower())


@pytest.mark.parametrize("kind", TABLES)
def test_every_component_and_option_is_on_the_components_page(kind):
    page = cached_page()
    given = cached_supplied()[kind]
    for name, target in components(TABLES[kind]).items():
        section = page.partition(f"### {kind}: `{name}`\n")[2].partition("\n##")[0]
        assert section
        for option in inspect.signature(target).parameters.keys() - given:
            assert f"| `{kind}.{option}`<br>" in section


def test_every_verb_and_flag_is_on_the_commands_page():
    page = commands_page()
    for verb in VERBS:
        section = page.partition(f"## segnet {verb}\n")[2].partition("\n## ")[0]
        assert section
        if verb not in SCHEMAS:
            for action in visible(verb_parser(verb)):
                assert all(f"`{flag}" in section or f", {flag}" in section for flag in action.option_strings)
                assert action.help != argparse.SUPPRESS


def test_the_files_of_a_choice_are_listed():
    page = cached_page()
    for kind in (*TABLES, "experiment"):
        for path in (CONF_DIR / kind).glob("[!_]*.yaml"):
            assert f"`{path.stem}`" in page
