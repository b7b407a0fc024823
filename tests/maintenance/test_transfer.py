"""What one machine has computed enters another's store whole, or not at all."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.maintenance import transfer_items, verify_store
from tests.cached import cached_data
from tests.models import save_model, tiny_config
from tests.stored import files, paths, put, put_data_set


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of which the workspace here names `a` and `b`."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("HLCLIP_STORE", raising=False)
    root = here / ".hlclip/store"
    put_data_set(root, tmp_path, "unnamed")
    put_data_set(root, here, "a", "b")
    return root


def run(*arguments: str | Path, status: int = 0) -> Result:
    ended = CliRunner().invoke(app, ["store", *map(str, arguments)])
    assert ended.exit_code == status, ended.output
    return ended


def contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in files(root)}


def test_export_and_import(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "usb"
    assert "6 files" in run("export", there).output
    assert files(there) == paths(there, "a", "b")
    assert "0 files (0 bytes) copied, 6 skipped" in run("export", there).output
    assert "3 files" in run("export", there, "--all").output
    assert contents(there) == contents(root)
    monkeypatch.setenv("HLCLIP_STORE", str(tmp_path / "other"))
    assert "9 files" in run("import", there).output
    assert contents(tmp_path / "other") == contents(root)
    assert "9 skipped" in run("import", there).output


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("place", ["/proc/x", "/dev/null/x", "a file"])
def test_a_place_that_cannot_be_is_named(place: str) -> None:
    Path("a file").write_text("mine")
    what, to_do = run("export", place, status=2).stderr.splitlines()
    assert what.startswith(f"{place}")
    assert ": cannot be written: " in what
    assert to_do == "choose another place"


@pytest.mark.parametrize("impossible", [(), ("link",), ("link", "ioctl")])
def test_every_way_to_duplicate(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impossible: tuple[str, ...]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    if "link" in impossible:
        monkeypatch.setattr(os, "link", refuse)
    if "ioctl" in impossible:
        monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert transfer_items(root, tmp_path / "other", desc="import").copied == 9
    assert contents(tmp_path / "other") == contents(root)


def test_the_stages_find_what_was_imported(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", tiny_config())
    made = cached_data(tmp_path / "one", model)
    transfer_items(tmp_path / "one", tmp_path / "other", desc="import")

    def written() -> dict[Path, int]:
        return {path: path.stat().st_ctime_ns for path in files(tmp_path / "other")}

    before = written()
    again = cached_data(tmp_path / "other", model)
    assert written() == before
    assert (again.images, again.texts) == (made.images, made.texts)


def test_damage_does_not_enter(root: Path, tmp_path: Path) -> None:
    there = tmp_path / "usb"
    put(there, "frames", "whole")
    whole = files(there)
    for n, vid in enumerate("pqrs"):
        put(there, "texts", vid)
        (path,) = paths(there, vid, kinds=("texts",))
        content = path.read_bytes()
        path.unlink()
        if n == 0:
            path.write_bytes(content[:-1])
        elif n == 1:
            path.write_bytes(content.replace(b"tiny", b"tinz"))
        elif n == 2:
            path.mkdir()
        else:
            path.symlink_to(next(iter(whole)))
    before = files(root)
    ended = run("import", there, status=1)
    assert "1 files" in ended.output
    for vid in "pqrs":
        (path,) = paths(there, vid, kinds=("texts",))
        assert f"left out: {path}: " in ended.stderr
    assert files(root) - before == paths(root, "whole", kinds=("frames",))
    assert verify_store(root, {}, everything=True).damaged == []
    assert not list(root.rglob("*.tmp"))


def test_a_named_item_that_is_missing_is_reported(root: Path, tmp_path: Path) -> None:
    (path,) = paths(root, "a", kinds=("images",))
    path.unlink()
    result = run("export", tmp_path / "usb", status=1)
    assert f"left out: {path}: not in the store" in result.stderr
    assert len(files(tmp_path / "usb")) == 5


def test_there_is_nothing_to_move(root: Path, tmp_path: Path) -> None:
    assert "found none" in run("import", tmp_path / "nowhere", status=2).stderr
    assert "is the store itself" in run("import", root, status=2).stderr
    (root.parent.parent / "outputs/frames.json").unlink()
    (root.parent.parent / "outputs/activations.json").unlink()
    assert "names nothing" in run("export", tmp_path / "usb", status=2).stderr


PROGRAM = """
import os, sys
from pathlib import Path
from hlclip.maintenance import transfer_items
link = os.link
def announced_link(*arguments, **keywords):
    link(*arguments, **keywords)
    print(flush=True)
os.link = announced_link
transfer_items(Path(sys.argv[1]), Path(sys.argv[2]), desc="import")
"""


def test_the_temporary_folder_of_a_dead_writer_is_removed(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "other"
    transfer_items(root, target, desc="import")
    whole = contents(target)
    for path in files(target):
        (path.parent / f".{path.name[:40]}.abcdefgh.tmp").mkdir()
    assert transfer_items(root, target, desc="import").copied == 0
    assert contents(target) == whole
    assert not list(target.rglob("*.tmp"))


def test_killed_anywhere_it_goes_on(root: Path, tmp_path: Path) -> None:
    for n in range(40):
        put(root, "texts", f"more {n}")
    target = tmp_path / "other"
    for come in (3, 20):
        command = [sys.executable, "-c", PROGRAM, root, target]
        importing = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert importing.stdout is not None
        for _ in range(come):
            importing.stdout.readline()
        importing.send_signal(signal.SIGKILL)
        importing.communicate()
        assert contents(target).items() <= contents(root).items()
    there = len(files(target))
    assert 0 < there < 49
    moved = transfer_items(root, target, desc="import")
    assert (moved.copied, moved.present) == (49 - there, there)
    assert contents(target) == contents(root)
    assert not list(target.rglob("*.tmp"))
