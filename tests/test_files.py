"""A file is whole or not there."""

import threading
from pathlib import Path

import pytest

from hlclip.files import replacing, write_json


def test_replaces_whole_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in ("first", "second"):
        with replacing(path) as temporary:
            temporary.write_text(content)
            assert (
                temporary.parent == path.parent
            )  # the same file system, so that it can be renamed
        assert path.read_text() == content
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("existed", [True, False])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, error: type[BaseException], existed: bool
) -> None:
    path = tmp_path / "file"
    if existed:
        path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"] * existed


def test_a_leftover_of_a_killed_run_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as temporary:
        temporary.write_text("new")
    temporary.write_text("left over")
    with replacing(path) as again:
        again.write_text("newer")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["newer"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [letter * 100_000 for letter in "ab"]
    path.write_text(contents[0])
    stop = threading.Event()
    seen: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(50):
        with replacing(path) as temporary:
            temporary.write_text(contents[turn % 2])
    stop.set()
    reader.join()
    assert seen <= set(contents)


def test_same_content_same_json(tmp_path: Path) -> None:
    content = {"b": [1, 2.5, None, True], "a": {"ü\n": "“x”"}}
    for name in ("one", "two"):
        write_json(tmp_path / name, content)
    one, two = ((tmp_path / name).read_bytes() for name in ("one", "two"))
    assert one == two
    assert one.endswith(b"\n")
    assert "“x”".encode() in one  # readable, not escaped


@pytest.mark.parametrize("content", [{"a": float("nan")}, {"a": {1, 2}}, {"a": "\ud800"}])
def test_what_json_cannot_say_is_refused_and_the_old_file_stays(
    tmp_path: Path, content: object
) -> None:
    write_json(tmp_path / "file", {"a": 1})
    before = (tmp_path / "file").read_bytes()
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "file", content)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]
