"""Misspelled options of the verbs that take files: one error line with a suggestion."""

import pytest

from segnet.cli.arguments import Parser
from segnet.errors import ConfigError


@pytest.fixture
def parser():
    parser = Parser(prog="segnet predict")
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--save")
    parser.add_argument("--batch-size", type=int)
    return parser


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--savee", "mask"], "predict: --savee is not understood. Did you mean '--save'? See --help"),
        (["--batchsize=4"], "predict: --batchsize=4 is not understood. Did you mean '--batch-size'? See --help"),
        (["--qqqq"], "predict: --qqqq is not understood. See --help"),
        (["--batch-size", "many"], "predict: argument --batch-size: invalid int value: 'many'; see --help"),
    ],
)
def test_misspelled_options_are_reported_in_one_line(parser, arguments, message):
    with pytest.raises(ConfigError) as error:
        parser.parse_args(arguments)
    assert str(error.value) == message


def test_valid_arguments_are_parsed(parser):
    options = parser.parse_args(["a.png", "--save", "mask", "--batch-size=4"])
    assert (options.inputs, options.save, options.batch_size) == (["a.png"], "mask", 4)
