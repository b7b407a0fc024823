"""A disk that fills up under a whole stage, or under `dvc repro`: one error, and room helps."""

import os
import re
import time
from pathlib import Path

import pytest

from hlclip.store_audit import audit
from tests.disks import fill, small_disk
from tests.e2e.conftest import Project
from tests.e2e.killing import finish, start
from tests.e2e.wholeness import (
    OUTPUTS,
    assert_whole,
    forget,
    identities,
    leftovers,
    whole_outputs,
)

pytestmark = pytest.mark.slow

DISK = 48 * 2**20
PAGE = 4096


@pytest.fixture(scope="module")
def whole(blank: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose stages were run in order, undisturbed."""
    project = blank.copy(tmp_path_factory.mktemp("whole") / "project")
    for stage in OUTPUTS:
        finish(project, stage)
    return project


@pytest.mark.parametrize("stage", OUTPUTS)
def test_x(whole: Project, tmp_path: Path, stage: str) -> None:
    expected = whole.outputs()
    said = tmp_path / "said.txt"
    with small_disk(tmp_path / "disk", DISK) as disk:
        project = whole.copy(disk / "project")
        (project.root / "said.txt").unlink()
        (project.root / "said.txt").symlink_to(said)
        forget(project, stage)
        kept = identities(project)
        room = 0
        while True:
            ballast = fill(disk, leave=room)
            said.write_text("")
            t = time.monotonic()
            process = start(project, stage)
            process.join(120)
            print(stage, room, process.exitcode, round(time.monotonic() - t, 2), len(identities(project)))
            print(said.read_text())
            if process.exitcode == 0:
                break
            assert_whole(whole_outputs(project), expected)
            assert audit(project.root / ".hlclip/store", {}, everything=True).damaged == []
            assert not list(project.root.rglob("*.tmp"))
            now = identities(project)
            assert kept.items() <= now.items()
            kept = now
            room = max(PAGE, 2 * room)
        ballast.unlink()
        finish(project, stage)
        assert kept.items() <= identities(project).items()
        assert project.outputs() == expected
        assert leftovers(project) == []
