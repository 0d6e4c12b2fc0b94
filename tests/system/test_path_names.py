"""Names of other systems: how they may be read, and the files that their ends fit."""

import pytest

from segnet.system.path_names import TailIndex, is_elsewhere, parts_of, spellings


@pytest.mark.parametrize("name", ["/a/b.jpg", "C:\\a\\b.jpg", "d:/a", "\\\\nas\\a", "https://host/a", "s3://bucket/a"])
def test_absolute_paths_and_addresses_are_elsewhere(name):
    assert is_elsewhere(name)


@pytest.mark.parametrize("name", ["a.jpg", "./a.jpg", "sub/a.jpg", "c:a.jpg", "a://".replace("a", "1"), "~/a"])
def test_other_names_are_not(name):
    assert not is_elsewhere(name)


def test_a_quoted_name_with_backslashes_may_be_read_without():
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
def test_paths_agree_as_far_as_both_go(path, found):
    tails = TailIndex(["cam1/0.jpg", "cam2/0.jpg", "top.jpg", "case.jpg", "CASE.jpg"])
    assert tails.fitting(parts_of(path)) == found
