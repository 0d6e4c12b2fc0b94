"""Times as text."""

import pytest

from segnet.errors import ConfigError
from segnet.times import parse_budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30min", 1800), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1.5 h", 5400), ("1h 1min 5s", 3665)],
)
def test_times_are_parsed_to_seconds(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "min", "-5min", "3 minutes", "1h30", "00:30:00", "1e3s", "nan"])
def test_an_invalid_time_is_refused_in_one_line(text):
    with pytest.raises(ConfigError, match=r"^budget=.* is not a time: write 90s, 30min, 2h or 1h30m$"):
        parse_budget(text)


def test_a_budget_shorter_than_the_start_up_is_refused():
    with pytest.raises(ConfigError, match="at least 20s"):
        parse_budget("5s")
