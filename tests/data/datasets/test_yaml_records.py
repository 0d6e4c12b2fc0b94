"""YAML is read with types."""

import pytest

from segnet.data.datasets.yaml_records import read_yaml, read_yaml_list
from segnet.errors import DataError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_mapping_is_read(tmp_path, encoding):
    (tmp_path / "a.yaml").write_bytes("nc: 2\r\nnames: [é, b]\r\n".encode(encoding))
    assert read_yaml(tmp_path / "a.yaml").items("names") == ["é", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("# nothing", "the file must be an object"),
        ("[1]", "the file must be an object"),
        ("a: [", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("names: {0: a, 0: b}", "has the key '0' twice"),
        ("[" * 20_000, "is not valid YAML"),
        ("a: &x [1]\nb: [*x, *x]\nc: {d: 1, d: 2}", "has the key 'd' twice"),
    ],
)
def test_a_file_that_is_not_a_mapping_is_refused(tmp_path, content, message):
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_yaml(tmp_path / "a.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'a.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_a_list_is_read_and_a_mapping_is_not(tmp_path):
    (tmp_path / "a.yaml").write_text("- a\n- {b: 1}\n")
    assert read_yaml_list(tmp_path / "a.yaml") == ["a", {"b": 1}]
    (tmp_path / "b.yaml").write_text("a: 1")
    with pytest.raises(DataError, match=r"b\.yaml: the file must be a list, not"):
        read_yaml_list(tmp_path / "b.yaml")
