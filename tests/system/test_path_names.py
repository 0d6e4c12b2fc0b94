"""File names from other systems: spellings, and matching by path suffix."""

import pytest

from segnet.system.path_names import TailIndex, is_elsewhere, parts_of, spellings


@pytest.mark.parametrize("name", ["/a/b.jpg", "C:\\a\\b.jpg", "d:/a", "\\\\nas\\a", "https://host/a", "s3://bucket/a"])
def test_absolute_paths_and_urls_are_elsewhere(name):
    assert is_elsewhere(name)


@pytest.mark.parametrize("name", ["a.jpg", "./a.jpg", "sub/a.jpg", "c:a.jpg", "a://".replace("a", "1"), "~/a"])
def test_relative_names_are_not_elsewhere(name):
    assert not is_elsewhere(name)


def test_quotes_and_backslashes_have_plain_spellings():
    assert "sub/a b.jpg" in list(spellings('"sub\\a b.jpg"'))
    assert "a b.jpg" in list(spellings("a%20b.jpg?x=%2F"))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/home/ann/cam1/0.jpg", ["cam1/0.jpg"]),
        ("https://host/CAM1/0.JPG", ["cam1/0.jpg"]),
        ("/cam3/0.jpg", []),
        ("0.jpg", ["cam1/0.jpg", "cam2/0.jpg"]),
        ("D:\\x\\top.jpg", ["top.jpg"]),
        ("/x/case.jpg", ["case.jpg"]),
        ("", []),
    ],
)
def test_paths_match_by_suffix(path, found):
    tails = TailIndex(["cam1/0.jpg", "cam2/0.jpg", "top.jpg", "case.jpg", "CASE.jpg"])
    assert tails.fitting(parts_of(path)) == found
