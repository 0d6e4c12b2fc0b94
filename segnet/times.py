"""Times as text, such as the option budget: parsed to seconds, and formatted."""

import re

from segnet.errors import ConfigError

UNITS = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0}
SHORTEST = 20.0  # shortest budget [s]; a shorter one does not cover the start-up


def as_budget(seconds: float) -> str:
    """Format seconds as a budget: "1h30min"."""
    rest = round(seconds)
    parts = []
    for unit in ("h", "min", "s"):
        number, rest = divmod(rest, int(UNITS[unit]))
        parts += [f"{number}{unit}"] if number else []
    return "".join(parts) or "0s"


def parse_budget(text: str) -> float:
    """Parse a time such as 90s, 30min, 2h or 1h30m; return it in seconds.

    Raises:
        ConfigError: not a time, or too short to train in.
    """
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()) and float(text) > 0:
        raise ConfigError(f"budget={text} has no unit: write {text.strip()}s or {text.strip()}min")
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)", text.strip())
    spelled = "".join(number + unit for number, unit in parts)
    if text.strip() != "0" and (not parts or re.sub(r"\s+", "", spelled) != re.sub(r"\s+", "", text)):
        raise ConfigError(f"budget={text} is not a time: write 90s, 30min, 2h or 1h30m")
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    if seconds < SHORTEST:
        raise ConfigError(f"budget={text} is too short to train in: give at least {SHORTEST:g}s")
    return seconds
