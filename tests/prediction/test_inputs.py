"""Inputs of a command line, and names of results."""

import os
from pathlib import Path, PurePath

import pytest

from segnet.errors import ConfigError, DataError
from segnet.prediction.inputs import Collector, Input, require_input_file, result_names, shard


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def touch(*names: str | bytes) -> None:
    for name in names:
        path = Path(os.fsdecode(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def collected(*arguments: str, root: str | None = None) -> Collector:
    collector = Collector()
    for argument in arguments:
        collector.add(argument, root)
    return collector


def texts(*arguments: str) -> list[str]:
    return [item.text for item in collected(*arguments).inputs]


def problems(collector: Collector) -> list[str]:
    return [item.problem for item in collector.inputs if item.problem]


def test_a_folder_is_searched_recursively_for_images_and_videos(folder):
    touch("in/b.png", "in/a.JPG", "in/deeper/c.png", "in/d.mp4", "in/notes.txt", "in/.hidden.png", "in/.git/e.png")
    Path("in/folder.png").mkdir()
    collector = collected("in")
    assert [(item.text, item.kind, str(item.name)) for item in collector.inputs] == [
        ("in/a.JPG", "image", "a.JPG"),
        ("in/b.png", "image", "b.png"),
        ("in/d.mp4", "video", "d.mp4"),
        ("in/deeper/c.png", "image", "deeper/c.png"),
    ]
    assert collector.notes == [
        "in: hidden images skipped: 2",
        "in: files skipped, no image or video by extension: 1: .txt (1)",
    ]


def test_globs_are_expanded(folder):
    touch("in/b.png", "in/a.jpg", "in/deeper/c.png", "in/notes.txt")
    assert texts("in/*") == ["in/a.jpg", "in/b.png"]
    assert texts("in/**/*.png") == ["in/b.png", "in/deeper/c.png"]


@pytest.mark.parametrize("name", ["a[1].png", "what?.png", "star*.png", "@a.png", "7", "a\nb.png", b"caf\xe9.png"])
def test_an_existing_file_may_have_any_name(folder, name):
    name = os.fsdecode(name)
    touch("a1.png", name)
    [item] = collected(name).inputs
    assert (item.path, item.kind) == (Path(name), "image")


@pytest.mark.parametrize("pattern", ["empty", "empty/*.png"])
def test_a_folder_or_glob_without_images_is_refused(folder, pattern):
    Path("empty").mkdir()
    with pytest.raises(DataError) as caught:
        collected(pattern)
    assert str(caught.value).startswith(f"{pattern}: no image (JPEG")


def test_duplicate_files_are_collected_once(folder):
    touch("in/a.png")
    assert texts("in/a.png", "in", "./in/a.png", str(folder / "in/*.png"), "gone.png", "gone.png") == [
        "in/a.png",
        "gone.png",
    ]


def test_stdin_urls_and_cameras_are_inputs(folder):
    collector = collected("-", "0", "http://host/x/a%20b.jpg?c=1", "HTTPS://host", "rtsp://host/stream", "x" * 300)
    assert [(item.text[:30], item.kind, str(item.name)[:9]) for item in collector.inputs] == [
        ("-", "stdin", "stdin"),
        ("camera 0", "camera", "camera0"),
        ("http://host/x/a%20b.jpg?c=1", "url", "a b.jpg"),
        ("HTTPS://host", "url", "url"),
        ("rtsp://host/stream", "url", "stream"),
        ("x" * 30, "image", "x" * 9),
    ]


def test_links_are_followed_and_loops_reported_once(folder):
    touch("in/sub/a.png", "elsewhere/b.png")
    os.symlink("..", "in/sub/loop")
    os.symlink("../elsewhere", "in/linked")
    os.symlink("gone.png", "in/broken.png")
    collector = collected("in")
    assert [item.text for item in collector.inputs] == ["in/broken.png", "in/linked/b.png", "in/sub/a.png"]
    assert collector.notes == ["in/sub/loop: skipped, a link to in"]


def test_an_unreadable_folder_is_one_failed_input(folder, monkeypatch):
    touch("in/a.png", "in/locked/b.png")
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    collector = collected("in")
    assert problems(collector) == ["in/locked: the folder cannot be read (Permission denied)"]
    assert [item.text for item in collector.inputs if not item.problem] == ["in/a.png"]


def test_results_of_earlier_predictions_are_skipped(folder):
    touch("in/a.png", "in/a_mask.png")
    collector = Collector(lambda path: path.name == "a_mask.png")
    collector.add("in")
    collector.add("in/*.png")
    assert [item.text for item in collector.inputs] == ["in/a.png"]
    assert collector.notes == [f"{where}: results of earlier predictions skipped: 1" for where in ("in", "in/*.png")]


class TestLists:
    def test_lines_are_files_relative_to_the_list(self, folder):
        touch("data/a.png", "data/sub/b c.png", "data/clip.mp4")
        name = os.fsencode("data/list.txt")
        Path(os.fsdecode(name)).write_bytes(
            b"\xef\xbb\xbfa.png\r\n\n sub/b c.png\nclip.mp4\nhttp://host/u.png\na.png\n"
        )
        collector = collected("@data/list.txt")
        assert [(item.text, item.kind, str(item.name)) for item in collector.inputs] == [
            ("data/a.png", "image", "a.png"),
            ("data/sub/b c.png", "image", "sub/b c.png"),
            ("data/clip.mp4", "video", "clip.mp4"),
            ("http://host/u.png", "url", "u.png"),
        ]

    @pytest.mark.parametrize(
        "line", ["../out.png", "/etc/out.png", "sub/../../out.png", "a\0.png", "link.png", "up/o.png"]
    )
    def test_paths_outside_the_folder_are_failed_inputs(self, folder, line):
        touch("data/a.png", "out.png", "o.png")
        os.symlink("../out.png", "data/link.png")
        os.symlink("..", "data/up")
        Path("data/list.txt").write_text(f"a.png\n{line}\n")
        collector = collected("@data/list.txt")
        assert [item.text for item in collector.inputs if not item.problem] == ["data/a.png"]
        [problem] = problems(collector)
        assert problem == f"data/list.txt: {line!r} is outside of data: set --root to a folder that contains it"

    def test_root_sets_the_allowed_folder(self, folder):
        touch("out.png", "data/a.png")
        Path("data/list.txt").write_text(f"{folder}/out.png\n../{folder.name}/data/a.png\n")
        collector = collected("@data/list.txt", root=str(folder))
        assert problems(collector) == []
        for item in collector.inputs:
            assert ".." not in item.name.parts
            assert not item.name.is_absolute()

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-16-le"])
    def test_lists_of_other_systems_are_read(self, folder, encoding):
        touch("data/a.png", "data/sub/b c.png")
        lines = [
            "# images",
            ".\\sub\\b c.png",
            '"a.png"',
            "C:\\work\\data\\sub\\b%20c.png",
            "sub/b c.png masks/b.png",
            "/x/a.png",
        ]
        Path("data/list.txt").write_bytes("\r\n".join(lines).encode(encoding))
        collector = collected("@data/list.txt")
        assert [(item.text, str(item.name)) for item in collector.inputs] == [
            ("data/sub/b c.png", "sub/b c.png"),
            ("data/a.png", "a.png"),
        ]

    def test_names_that_are_not_utf_8_work(self, folder):
        touch(b"caf\xe9.png")
        Path("list.txt").write_bytes(b"caf\xe9.png\n")
        [item] = collected("@list.txt").inputs
        assert item.path.exists()

    @pytest.mark.parametrize(
        ("content", "message"), [(None, "cannot be read as a list of files"), ("\n \n", "the list is empty")]
    )
    def test_an_invalid_list_is_refused(self, folder, content, message):
        if content is not None:
            Path("list.txt").write_text(content)
        with pytest.raises(DataError, match=rf"list\.txt: {message}"):
            collected("@list.txt")

    def test_a_huge_list_is_refused(self, folder, monkeypatch):
        monkeypatch.setattr("segnet.prediction.inputs.MAX_LIST_BYTES", 100)
        Path("list.txt").write_text("a.png\n" * 20)
        with pytest.raises(DataError, match=r"larger than .* MiB: split it"):
            collected("@list.txt")


def test_only_regular_files_are_opened(folder):
    touch("a.png")
    assert require_input_file(Path("a.png")).st_size == 0
    os.mkfifo("pipe.png")
    for name, message in {
        "gone.png": "no such file",
        ".": "is a folder",
        "pipe.png": "is a device or a pipe",
        "x" * 300: "cannot be read",
        "a\0": "no such file",
    }.items():
        with pytest.raises(DataError, match=message):
            require_input_file(Path(name))


def named(*paths: str) -> list[str]:
    return result_names(
        [
            Input(path, "image", PurePath(path).relative_to("/") if path[0] == "/" else PurePath(path), Path(path))
            for path in paths
        ]
    )


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.png", "b.jpg"], ["x/a", "b"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["x/a.png", "y/a.png"], ["x/a", "y/a"]),
        (["a.jpg", "a.png", "a.jpg.png"], ["a.jpg", "a.png", "a.jpg_2"]),
    ],
)
def test_result_names_follow_the_inputs(paths, names):
    assert named(*paths) == names


def test_equal_names_in_two_folders_keep_their_folders():
    inputs = [Input(path, "image", PurePath("a.png"), Path(path)) for path in ("/x/a.png", "../y/a.png", "./a.png")]
    assert result_names(inputs) == ["x/a.png", "y/a.png", "a.png"]


@pytest.mark.parametrize(
    "names",
    [["a.png"] * 4, ["a.png", "A.PNG", "a.jpg"], ["n" * 250 + ".png", "n" * 251 + ".png"], ["é" * 120 + ".png"] * 2],
)
def test_result_names_are_unique_on_every_file_system(names):
    inputs = [Input(f"{place}", "image", PurePath(name), Path(name)) for place, name in enumerate(names)]
    given = result_names(inputs)
    assert len({name.casefold() for name in given}) == len(names)
    assert all(len(os.fsencode(part)) < 200 for name in given for part in Path(name).parts)


def test_shards_do_not_depend_on_the_order_of_the_inputs():
    inputs = [Input(f"in/{n}.png", "image", PurePath(f"{n}.png")) for n in range(11)]
    shards = [shard(inputs, f"{number}/4") for number in range(1, 5)]
    assert sorted(place for places in shards for place in places) == list(range(11))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    shuffled = inputs[::-1]
    for number, places in enumerate(shards, start=1):
        there = {shuffled[place].text for place in shard(shuffled, f"{number}/4")}
        assert there == {inputs[place].text for place in places}


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_an_invalid_shard_is_refused(text):
    with pytest.raises(ConfigError, match=f"--shard {text}: must be i/n"):
        shard([], text)
