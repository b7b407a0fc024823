"""A disk that fills up under a whole stage or under `dvc repro`: one error, then room helps.

The project, or what hlclip writes of it, lies on a tmpfs, which only root may mount. `make test`
lets a stage run out of room at one place; `HLCLIP_KILLS` of 20 or more does so at every place.
"""

import os
import re
from pathlib import Path

import pytest

from hlclip.maintenance import verify_store
from tests.disks import fill, small_disk
from tests.e2e.conftest import Project, stages_run
from tests.e2e.killing import ended
from tests.e2e.wholeness import (
    OUTPUTS,
    assert_clear,
    assert_whole,
    forget,
    identities,
    leftovers,
    whole_outputs,
)

pytestmark = pytest.mark.slow

MANY = int(os.environ.get("HLCLIP_KILLS", "0")) >= 20
DISK = 48 * 2**20
PAGE = 4096
STORE = "outputs/store"
"""Where it lies next to what else hlclip writes, for a disk that holds both."""

PLACES = {
    "index": (0, "outputs/index.json"),
    "frames": (32 * 2**10, "store/frames/"),
    "activations": (64 * 2**10, "store/images/"),
    "train": (4 * 2**20, "store/training/"),
    "score": (0, "outputs/score.safetensors"),
    "evaluate": (8 * 2**10, "outputs/predictions/"),
}
"""Stage -> bytes of room with which it begins and does not end, and where it then stops."""

FULL = re.compile(
    r"cannot be written: No space left on device \([\d.,]+ (MB|bytes) or more needed, "
    r"[\d.,]+ (MB|bytes) free\)\nmake room on that disk"
)


@pytest.mark.parametrize("stage", OUTPUTS)
def test_a_stage_whose_disk_fills_up_goes_on_to_the_same_bytes(
    whole: tuple[Project, dict[str, float]], tmp_path: Path, stage: str
) -> None:
    finished, _ = whole
    expected = finished.outputs()
    leave, place = PLACES[stage]
    with small_disk(tmp_path / "disk", DISK) as disk:
        project = finished.copy(disk / "project")
        _say_elsewhere(project, tmp_path)
        forget(project, stage)
        (project.root / ".hlclip/stage.lock").unlink()  # nor for it is there room
        kept = identities(project)
        stops: list[str] = []
        room = 0 if MANY else leave
        while True:
            fill(disk, leave=room)
            status, said = ended(project, stage)
            if status == 0:
                break
            assert (status, room < DISK) == (1, True), said
            assert_clear(said)
            assert FULL.search(said), said
            stops += [line for line in said.splitlines() if "cannot be written" in line]
            assert_whole(whole_outputs(project), expected)
            assert verify_store(project.root / ".hlclip/store", {}, everything=True).damaged == []
            assert not list(project.root.rglob("*.tmp"))
            now = identities(project)
            assert kept.items() <= now.items()
            kept = now
            room = max(PAGE, 2 * room) if MANY else DISK // 8
        print(f"{stage}: without room {len(stops)} times")
        assert any(place in stop for stop in stops)
        assert kept.items() <= identities(project).items()
        assert project.outputs() == expected
        assert leftovers(project) == []


@pytest.mark.parametrize("stage", OUTPUTS if MANY else ["frames"])
def test_dvc_repro_whose_disk_fills_up_goes_on_to_the_same_bytes(
    whole: tuple[Project, dict[str, float]], blank: Project, tmp_path: Path, stage: str
) -> None:
    finished, _ = whole
    project = blank.copy(tmp_path / "project")
    leave, place = PLACES[stage]
    # It holds what hlclip writes. Where DVC has no room for its own files, it ends with its own
    # error ("[Errno 28] No space left on device"), mostly before any stage begins.
    with small_disk(project.root / "outputs", DISK) as disk:
        before = list(OUTPUTS)[: list(OUTPUTS).index(stage)]
        if before:
            project.run("dvc", "repro", before[-1], HLCLIP_STORE=STORE)
        kept = identities(project, store=STORE)
        ballast = fill(disk, leave=leave)
        said = project.run("dvc", "repro", stage, check=False, HLCLIP_STORE=STORE)
        assert stages_run(said) == [stage]
        assert "Traceback" not in said
        assert FULL.search(said), said
        assert place in said
        assert verify_store(project.root / STORE, {}, everything=True).damaged == []
        assert not list(disk.rglob("*.tmp"))
        assert kept.items() <= identities(project, store=STORE).items()
        kept = identities(project, store=STORE)
        ballast.unlink()
        assert stages_run(project.run("dvc", "repro", stage, HLCLIP_STORE=STORE)) == [stage]
        assert kept.items() <= identities(project, store=STORE).items()
        there = {n: c for n, c in whole_outputs(project).items() if "/store/" not in n}
        assert there == {name: finished.outputs()[name] for name in there}
        assert any(name.startswith(f"outputs/{OUTPUTS[stage][0]}") for name in there)
        assert not list(disk.rglob("*.tmp"))


def _say_elsewhere(project: Project, folder: Path) -> None:
    """What a stage says is no part of what it needs room for."""
    (project.root / "said.txt").unlink()
    (project.root / "said.txt").symlink_to(folder / "said.txt")
