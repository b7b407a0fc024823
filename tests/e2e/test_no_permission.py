"""A stage that may not write where it must: one error, and when it may, it goes on."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from tests.disks import be_bound_by_permissions, make_read_only, make_writable, small_disk
from tests.e2e.conftest import Project
from tests.e2e.killing import ended
from tests.e2e.wholeness import OUTPUTS, STORED, assert_clear, forget, identities, leftovers

pytestmark = pytest.mark.slow

MANY = int(os.environ.get("HLCLIP_KILLS", "0")) >= 20
STORE = ".hlclip/store"
REFUSALS = {
    "read-only": r"Read-only file system\nmake that disk writable",
    "denied": r"Permission denied\ngive your user the right to it",
}
CASES = [
    (stage, where, fault)
    for stage in OUTPUTS
    # The cache of video hashes only saves time: where it cannot be written, `index` goes on.
    for where in (["outputs", STORE] if stage in STORED and stage != "index" else ["outputs"])
    for fault in REFUSALS
]
FEW = [
    ("index", "outputs", "denied"),
    ("frames", STORE, "denied"),
    ("train", STORE, "denied"),
    ("evaluate", "outputs", "read-only"),
]


@pytest.mark.parametrize(("stage", "where", "fault"), CASES if MANY else FEW)
def test_a_stage_that_may_not_write_says_so(
    whole: tuple[Project, dict[str, float]], tmp_path: Path, stage: str, where: str, fault: str
) -> None:
    finished, _ = whole
    expected = finished.outputs()
    project = finished.copy(tmp_path / "project")
    folder = project.root / where
    with small_disk(folder, 48 * 2**20) if fault == "read-only" else nullcontext():
        shutil.copytree(finished.root / where, folder, dirs_exist_ok=True)
        forget(project, stage)
        kept, before = identities(project), _files(folder)
        with _read_only(folder) if fault == "read-only" else _denied(folder):
            status, said = ended(project, stage, first=be_bound_by_permissions)
        assert status == 1, said
        assert_clear(said)
        assert re.search(REFUSALS[fault], said)
        assert where in said
        assert _files(folder) == before
        status, said = ended(project, stage)
        assert status == 0, said
        assert kept.items() <= identities(project).items()
        assert project.outputs() == expected
        assert leftovers(project) == []


@contextmanager
def _read_only(disk: Path) -> Iterator[None]:
    make_read_only(disk)
    yield
    make_writable(disk)


@contextmanager
def _denied(folder: Path) -> Iterator[None]:
    places = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in places}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}
