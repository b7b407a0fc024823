"""Where the store is, and the limit of the user's own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip import HlclipError
from hlclip.store import Store, content_key, find_store, place, repository, store, store_root

HEADER = {"model": "m"}


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own store; the working directory is another folder, in no project."""
    for name in ("HLCLIP_STORE", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "films").mkdir()
    monkeypatch.chdir(tmp_path / "films")
    return tmp_path / "cache" / "hlclip" / "store"


def test_outside_of_a_project_it_is_the_users_own(own: Path, tmp_path: Path) -> None:
    found = find_store()
    assert (found.root, found.limit) == (own, 20 * 10**9)
    assert "your own" in found.why
    assert store_root() == tmp_path / "films/.hlclip/store"  # a run is never cut short


@pytest.mark.parametrize(
    ("made", "is_one"),
    [
        (["params.yaml", "dvc.yaml"], True),
        (["params.yaml", ".dvc/config"], True),
        ([".hlclip/store/videos.json"], True),
        (["params.yaml"], False),
        (["dvc.yaml", ".dvc/config"], False),
        ([".hlclip/stage.lock"], False),
    ],
)
def test_a_project_is_found_from_each_folder_in_it(
    made: list[str], is_one: bool, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_store()
    if not is_one:
        assert found.root == own
        assert repository() == tmp_path / "films"
        return
    assert (found.root, found.limit) == (tmp_path / ".hlclip/store", None)
    assert found.why == f"of the project {tmp_path}"
    assert store_root() == found.root
    assert repository() == tmp_path
    monkeypatch.setenv("HLCLIP_STORE", "elsewhere")
    assert (find_store().root, find_store().why) == (tmp_path / "elsewhere", "HLCLIP_STORE")


def test_a_folder_elsewhere_has_the_store_of_its_project(own: Path, tmp_path: Path) -> None:
    for project in ("films", "other"):
        (tmp_path / project / ".hlclip/store").mkdir(parents=True)
    (tmp_path / "other/copy").mkdir()
    (tmp_path / "outside").mkdir()
    assert store_root() == tmp_path / "films/.hlclip/store"
    assert store_root(Path("../other/copy")) == tmp_path / "other/.hlclip/store"
    assert store_root(tmp_path / "outside") == tmp_path / "films/.hlclip/store"


def test_the_named_folder_has_no_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HLCLIP_STORE", "elsewhere")
    assert find_store().root == tmp_path / "films/elsewhere"
    assert find_store().limit is None


def put(root: Path, *names: str) -> list[Path]:
    """Items of some 8 kB, an hour between each and the next; the last was used an hour ago."""
    items = Store(root, "images", HEADER)
    paths = [items.path(content_key(HEADER, name)) for name in names]
    for age, name in enumerate(names):
        items.get_or_make(content_key(HEADER, name), lambda: np.ones((4, 1000), np.float16))
        hours = len(names) - age
        when = paths[age].stat().st_mtime - 3600 * hours
        os.utime(paths[age], (when, when))
    return paths


def test_beyond_the_limit_what_was_not_used_for_longest_is_removed(
    own: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two, three, four = put(own, "one", "two", "three", "four")

    def no_make() -> NDArray[np.float16]:
        raise AssertionError("made although it is there")

    Store(own, "images", HEADER).get_or_make(one.stem, no_make)  # so it is used
    monkeypatch.setattr(store, "LIMIT_BYTES", int(4.5 * one.stat().st_size))
    assert not caplog.messages
    Store(own, "features", HEADER).get_or_make(
        content_key(HEADER, "five"), lambda: np.ones((4, 1000), np.float16)
    )
    left = [path.exists() for path in (one, two, three, four)]
    assert left == [True, False, True, True]
    assert len(list(own.glob("*/*/*.h5"))) == 4
    (message,) = caplog.messages
    assert message.startswith(f"{own}: holds more than ")
    assert "the 1 items that were not used for longest, " in message
    assert message.endswith("are removed; HLCLIP_STORE names a folder without a limit")


def test_no_other_store_is_ever_trimmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LIMIT_BYTES", 1)
    paths = put(tmp_path / ".hlclip/store", "one", "two")
    before = [path.stat().st_mtime_ns for path in paths]
    put_again = Store(tmp_path / ".hlclip/store", "images", HEADER)
    put_again.get_or_make(paths[0].stem, lambda: np.ones((1, 1), np.float16))
    assert [path.stat().st_mtime_ns for path in paths] == before


def test_two_processes_trim_at_once(own: Path) -> None:
    """Each looks at files that the other removes."""
    put(own, *map(str, range(40)))
    code = "import sys, pathlib, hlclip.store.place as p; p.trim(pathlib.Path(sys.argv[1]), 1)"
    both = [subprocess.Popen([sys.executable, "-c", code, own]) for _ in range(2)]
    assert [each.wait(60) for each in both] == [0, 0]
    assert not list(own.glob("*/*/*.h5"))


def test_a_cache_that_cannot_be_written_names_the_way_out(own: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(HlclipError, match=r"; HLCLIP_STORE names another folder for the store$"):
        put(own, "one")


def test_a_user_without_home_gets_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "user_cache_path", lambda *_, **__: Path("~nobody at all/x"))
    with pytest.raises(ValueError, match=r"no home folder\nset HLCLIP_STORE to a folder"):
        find_store()
