"""The cache of downloads, and their errors."""

from pathlib import Path

import pytest

from segnet.weights.download import fetch


def cached(tmp_path: Path) -> list[Path]:
    """All files in torch's cache, including temporary ones."""
    return [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


def refusal(source: str, kind: type) -> str:
    with pytest.raises(kind) as error:
        fetch(source)
    assert type(error.value) is kind
    assert str(error.value).startswith(f"{source}: ")
    assert "\n" not in str(error.value)
    return str(error.value)
