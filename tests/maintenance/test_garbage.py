"""gc says first, removes what nothing names, and nothing else, whatever else is going on."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.maintenance import find_garbage, remove_garbage, store_status
from hlclip.maintenance.inventory import KINDS
from hlclip.store import StoreInUseError
from tests.stored import commit, files, git, make_repository, paths, put, put_data_set, run_stages


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """main names `main`, a tag names `tagged`, nothing names `gone` and a feature."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("HLCLIP_STORE", raising=False)
    folder = tmp_path / "project"
    make_repository(folder)
    root = folder / ".hlclip/store"
    run_stages(folder, root, "tagged")
    commit(folder)
    git(folder, "tag", "v1")
    put_data_set(root, tmp_path, "gone")
    put(root, "features", "own video")
    run_stages(folder, root, "main")
    commit(folder)
    monkeypatch.chdir(folder)
    return folder


def gc(*arguments: str, status: int = 0) -> Result:
    ended = CliRunner().invoke(app, ["store", "gc", *arguments])
    assert ended.exit_code == status, ended.output
    return ended


def test_it_only_says_then_removes_what_nothing_names(project: Path) -> None:
    root = project / ".hlclip/store"
    before, gone = files(root), paths(root, "gone")
    size = sum(path.stat().st_size for path in gone)
    assert "3 files" in (said := gc().output)
    assert f"{size:,} bytes, would be removed\nNothing was removed; --force removes" in said
    assert files(root) == before
    content = json.loads(gc("--force", "--json").output)
    assert {Path(each["path"]) for each in content["files"]} == gone
    assert (content["bytes"], content["removed"]) == (size, True)
    assert files(root) == before - gone
    assert "0 files, 0 bytes, removed" in gc("--force").output


def test_the_workspace_alone(project: Path) -> None:
    root = project / ".hlclip/store"
    gc("--keep", "workspace", "--force")
    assert files(root) == paths(root, "main") | set(root.glob("features/*/*.h5"))


def test_an_unreadable_manifest_stops_it(project: Path) -> None:
    root = project / ".hlclip/store"
    before = files(root)
    shutil.rmtree(project / ".dvc/cache")
    said = gc("--force", status=2).stderr
    assert f"  {project}: outputs/activations.json, md5" in said
    assert "  refs/tags/v1: outputs/activations.json, md5" in said
    assert "there is no DVC remote to fetch them from: delete the revision; or" in said
    git(project, "config", "--file", ".dvc/config", "remote.r.url", "/nowhere")
    said = gc("--force", status=2).stderr
    assert "`dvc fetch --all-branches --all-tags --all-commits` gets them from the remote" in said
    assert "--skip-unreadable" in said
    assert "--force would refuse: these manifests cannot be read" in gc().stderr
    assert "refs/tags/v1" in json.loads(gc("--json").output)["unreadable"]
    assert files(root) == before
    gc("--force", "--skip-unreadable")
    assert files(root) == paths(root, "main") | set(root.glob("features/*/*.h5"))


def test_features_and_states_go_when_asked_and_old(project: Path) -> None:
    root = project / ".hlclip/store"
    (feature,) = root.glob("features/*/*.h5")
    state = root / "training" / f"{'ab' * 20}.pt"
    state.parent.mkdir()
    state.write_bytes(b"state")
    gc("--force", "--features", "--older-than", "30")
    assert feature.exists()
    assert paths(root, "gone") <= files(root)
    old = time.time() - 31 * 86400
    for path in (feature, state):
        os.utime(path, (old, old))
    gc("--force", "--older-than", "1")
    assert feature.exists()
    gc("--force", "--features", "--older-than", "30")
    assert not feature.exists()
    assert not state.exists()
    assert paths(root, "gone") <= files(root)


def test_a_store_outside_needs_to_know_its_clones(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = (project / ".hlclip/store").rename(tmp_path / "shared")
    monkeypatch.setenv("HLCLIP_STORE", str(root))
    assert "other clones may use it\nname each clone" in gc("--force", status=2).stderr
    other = tmp_path / "other"
    make_repository(other)
    run_stages(other, root, "other")
    commit(other)
    put_data_set(root, tmp_path, "gone too")
    gc("--force", "--repository", ".", "--repository", str(other))
    named = paths(root, "main", "tagged", "other")
    assert files(root) == named | set(root.glob("features/*/*.h5"))
    gc("--force", "--repository", ".")  # the user's word counts
    assert not paths(root, "other") & files(root)


def test_outside_of_a_repository_it_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HLCLIP_STORE", raising=False)
    put(tmp_path / ".hlclip/store", "frames", "a")
    assert "not inside of a DVC repository" in gc("--force", status=2).stderr
    assert len(files(tmp_path / ".hlclip/store")) == 1


PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from hlclip.store.store import Store

def make():
    Path(sys.argv[2]).touch()
    time.sleep(60)
    return np.zeros(3)

Store(Path(sys.argv[1]), "frames", {"size": 4}).get_or_make("ab" * 20, make)
"""


def test_what_another_process_makes_is_left_alone(tmp_path: Path) -> None:
    root, started = tmp_path / "store", tmp_path / "started"
    put(root, "frames", "a")
    run = subprocess.Popen([sys.executable, "-c", PROGRAM, root, started])
    while not started.exists():
        assert run.poll() is None
        time.sleep(0.01)
    half = root / "frames/ab" / f".{'ab' * 20}.a1b2c3d4.tmp"
    half.mkdir(parents=True)
    (half / "new").write_bytes(b"half")
    lock = os.open(half, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)  # as its writer holds it
    assert half not in [file.path for file in find_garbage(root, [])]
    assert store_status(root, []).being_written == [half]
    assert store_status(root, []).in_use
    with pytest.raises(StoreInUseError, match="in use by a run"):
        remove_garbage(root, lambda: find_garbage(root, []))
    run.send_signal(signal.SIGKILL)
    run.wait()
    os.close(lock)
    status = store_status(root, [])
    assert (status.in_use, status.temporary) == (False, [half])
    remove_garbage(root, lambda: find_garbage(root, []))
    assert not half.exists()
    assert files(root) == set()


def test_status_counts(project: Path) -> None:
    root = project / ".hlclip/store"
    shutil.move(next(iter(paths(root, "main", kinds=("texts",)))), project / "aside")
    (damaged,) = paths(root, "gone", kinds=("images",))
    damaged.write_bytes(b"")
    (root / "images/notes.txt").write_text("mine")
    (root / "mine").mkdir()
    # What runs keep to save time is hlclip's.
    (root / "videos.json").write_text("{}")
    (root / "models").mkdir()
    (root / f"models/{'0' * 40}.json").write_text("{}")
    halves = [root / ".videos.json.abcdefgh.tmp", root / f"models/.{'0' * 40}.abcdefgh.tmp"]
    for half in halves:
        half.mkdir()
    content = json.loads(CliRunner().invoke(app, ["store", "status", "--json"]).output)
    assert (content["store"], content["why"]) == (str(root), f"of the project {project}")
    counts = {kind: (c["files"], c["named"]) for kind, c in content["kinds"].items()}
    assert counts == {"frames": (3, 1), "images": (3, 1), "texts": (2, 0), "features": (1, 0)}
    assert content["kinds"]["images"]["formats"] == {"damaged": 1, "3": 2}
    size = sum(path.stat().st_size for path in root.glob("frames/*/*.h5"))
    assert content["kinds"]["frames"]["bytes"] == size
    assert content["missing"] == 1
    assert content["foreign"] == [str(root / "images/notes.txt"), str(root / "mine")]
    assert content["temporary"] == [str(half) for half in halves]
    output = CliRunner().invoke(app, ["store", "status"]).output
    assert "1 items that this workspace names are not in the store" in output
    assert f"not hlclip's: {root / 'mine'}" in output
    assert gc("--force").exit_code == 0
    assert (root / "images/notes.txt").exists()  # what is not hlclip's stays
    assert (root / f"models/{'0' * 40}.json").exists()
    assert not [half for half in halves if half.exists()]


def test_status_while_a_run_adds_items(tmp_path: Path) -> None:
    def add() -> None:
        for n in range(150):
            put(tmp_path, "images", f"v{n}")

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(add)
        while not run.done():
            store_status(tmp_path, [])
        run.result()
    assert store_status(tmp_path, []).kinds["images"].files == 150


def test_status_says_why_the_store_is_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HLCLIP_STORE", "elsewhere")
    place, contents = CliRunner().invoke(app, ["store", "status"]).output.splitlines()
    assert place == f"{tmp_path / 'elsewhere'} (HLCLIP_STORE)"
    assert contents == "  does not exist yet; `dvc repro` or `hlclip highlight` makes it"
    assert not (tmp_path / "elsewhere").exists()


def test_your_own_store_has_a_limit_and_needs_no_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of a project gc finds all tokens, since no manifest can name them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HLCLIP_STORE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "cache/hlclip/store"
    put(root, "images", "a")
    put(root, "features", "a")
    place, limit, *_ = CliRunner().invoke(app, ["store", "status"]).output.splitlines()
    assert place == f"{root} (your own, because this folder is in no project)"
    assert limit == "  at most 20.0 GB: beyond, what was not used for longest is removed"
    assert (
        json.loads(CliRunner().invoke(app, ["store", "status", "--json"]).output)["limit"] == 2e10
    )
    assert gc("--force").exit_code == 0
    assert [path.parts[-3] for path in files(root)] == ["features"]
    assert gc("--features", "--force").exit_code == 0
    assert not files(root)


def test_ten_thousand_items_take_seconds(tmp_path: Path) -> None:
    for n in range(10_000):
        folder = tmp_path / KINDS[n % 4] / f"{n % 256:02x}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n % 256:02x}{n:038}.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    start = time.perf_counter()
    status = store_status(tmp_path, [])
    garbage = remove_garbage(tmp_path, lambda: find_garbage(tmp_path, [], features=True))
    assert time.perf_counter() - start < 15
    assert sum(kind.files for kind in status.kinds.values()) == len(garbage) == 10_000
    assert not files(tmp_path)
