"""A file is whole or not there."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hlclip.system.files import as_csv, remove_leftovers, replacing, write_json


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-2 + 3", "'-2 + 3"),
        ("@sum", "'@sum"),
        ("\t =cmd|' /C calc'!A0", "'\t =cmd|' /C calc'!A0"),
        ("</script>", "\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}/script>"),
        ("a - b = c", "a - b = c"),
        ("'quoted'", "'quoted'"),
        (-0.5, "-0.5"),
        (-3, "-3"),
        (None, '""'),
    ],
)
def test_text_in_csv_is_neither_formula_nor_markup(cell: object, written: str):
    assert as_csv([["name"], [cell]]) == f"name\n{written}\n"


def test_replaces_whole_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in ("first", "second"):
        with replacing(path) as temporary:
            temporary.write_text(content)
            # On the same file system, so that it can be renamed.
            assert temporary.parent.parent == path.parent
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
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012 (the failure comes within the block)
        temporary.write_text("half")
        raise error
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"] * existed


WRITER = """
import sys, time
from pathlib import Path
from hlclip.system.files import replacing

with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.parent, flush=True)
    sys.stdin.readline()
    temporary.write_text("theirs")
"""


def writer(path: Path) -> "subprocess.Popen[str]":
    """Another process in the middle of writing `path`; a line on its stdin lets it finish."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert Path(process.stdout.readline().strip()).is_dir()
    return process


def test_what_a_killed_writer_left_goes_when_the_path_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    process = writer(path)
    process.kill()
    process.communicate()
    assert len(list(tmp_path.glob(".file.*.tmp/new"))) == 1
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_removing_leftovers_of_a_folder_spares_living_writers(tmp_path: Path) -> None:
    files = [tmp_path / name for name in (".a.tmp", "b.tmp", ".c.12345678.tmp")]
    for path in files:  # named like temporary folders
        path.write_text("")
    living, dead = writer(tmp_path / "living"), writer(tmp_path / "dead")
    dead.kill()
    dead.communicate()
    remove_leftovers(tmp_path)
    assert [p.name[:8] for p in tmp_path.iterdir() if p not in files] == [".living."]
    living.communicate("\n", timeout=30)
    assert (tmp_path / "living").read_text() == "theirs"


def test_two_processes_that_write_one_path_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first, second = writer(path), writer(path)
    with replacing(path) as temporary:
        temporary.write_text("ours")
    assert path.read_text() == "ours"
    for process in (first, second):
        process.communicate("\n", timeout=30)
        assert process.returncode == 0
        assert path.read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127):
        write_json(tmp_path / name, 1)
        assert (tmp_path / name).read_text() == "1\n"


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    write_json(tmp_path / "file", 1)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [letter * 100_000 for letter in "ab"]
    path.write_text(contents[0])
    stop = threading.Event()
    contents_read: set[str] = set()

    def read() -> None:
        while not stop.is_set():
            contents_read.add(path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(50):
        with replacing(path) as temporary:
            temporary.write_text(contents[turn % 2])
    stop.set()
    reader.join()
    assert contents_read <= set(contents)


def test_a_files_name_that_is_not_utf8_is_kept_in_json(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    write_json(tmp_path / "names.json", {name: "ü"})
    content = (tmp_path / "names.json").read_text(encoding="utf-8")
    assert content == '{\n "caf\\udce9.mp4": "ü"\n}\n'
    assert json.loads(content) == {name: "ü"}


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
