import pytest

from segnet.serving.new_files import MAX_NAME, safe_name
from segnet.system.files import is_hidden


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("street.jpg", "street"),
        ("my.street.jpg", "my.street"),
        ("C:\\photos\\my street (2).JPEG", "my_street_(2)"),
        ("../../etc/passwd", "passwd"),
        ("...", "image"),
        ("", "image"),
        (".htaccess", "htaccess"),
        ("NUL.png", "image_NUL"),
        ("com1", "image_com1"),
        ("Thumbs.db", "Thumbs"),
        ("lost+found", "lost_found"),
        ("$(rm -rf).png", "(rm_-rf)"),
        ("a\nb\x1b[31m\0.png", "a_b_31m"),
        ("Straße 日本.png", "Straße_日本"),
        ("e\u0301.png", "é"),
        ("2024-01-01T10:00:00.000Z", "2024-01-01T10_00_00"),
    ],
)
def test_names_are_safe_and_readable(name, expected):
    assert safe_name(name) == expected


@pytest.mark.parametrize("name", ["x" * 5000, "日" * 5000, "." * 300 + "a", "a." * 300, "\ud800", "__MACOSX", "@eaDir"])
def test_names_fit_every_file_system(name):
    found = safe_name(name)
    assert 0 < len(found) <= MAX_NAME + 6
    assert len(found.encode()) <= 210
    assert not is_hidden(found)
    assert not set(found) & set('/\\:*?"<>|\0 ')
    assert not found.endswith(".")
