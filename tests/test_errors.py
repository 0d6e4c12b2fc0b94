"""Escaping of control characters in text."""

import pytest

from segnet.errors import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("road [paved] <b> | =cmd :smile:", "road [paved] <b> | =cmd :smile:"),
        ("Straße 道路 طريق", "Straße 道路 طريق"),
        ("👩‍🌾", "👩‍🌾"),  # a zero-width joiner is not a control character
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31m\x07\x00\x7f", "\\x1b[31m\\x07\\x00\\x7f"),
        ("\x9b2J\x85", "\\x9b2J\\x85"),
        ("\u202egnp.exe\u2066\u2028", "\\u202egnp.exe\\u2066\\u2028"),
        ("\udcff\ufeff\U000e0041", "\\udcff\\ufeff\\U000e0041"),
    ],
)
def test_only_control_characters_are_escaped(text, expected):
    assert printable(text) == expected


def test_line_breaks_can_be_kept():
    assert printable("a\n\tb\x1b", keep="\n\t") == "a\n\tb\\x1b"
