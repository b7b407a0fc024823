"""Killed anywhere, by any signal: the next run finishes, remakes nothing, and ends with the same.

`HLCLIP_KILLS` is how many kills there are (about ten by default), `HLCLIP_SEED` what draws their
moments.
"""

import os
from pathlib import Path
from random import Random
from signal import SIGINT, SIGKILL, SIGTERM

import pytest

from tests.e2e.conftest import Project
from tests.e2e.killing import Toll, dvc, finish, processes_in
from tests.e2e.wholeness import (
    OUTPUTS,
    assert_whole,
    forget,
    identities,
    leftovers,
    whole_outputs,
)

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("HLCLIP_KILLS", "10"))
MANY = KILLS >= 20
SEED = int(os.environ.get("HLCLIP_SEED", "0"))
SIGNALS = (SIGKILL, SIGINT, SIGTERM)
BEFORE_TORCH = ("index", "frames")


@pytest.mark.parametrize("stage", OUTPUTS)
def test_a_stage_killed_anywhere_goes_on_to_the_same_bytes(
    whole: tuple[Project, dict[str, float]], tmp_path: Path, stage: str
) -> None:
    finished, seconds = whole
    span = seconds[stage]
    project = finished.copy(tmp_path / "project")
    expected = finished.outputs()
    forget(project, stage)
    toll = Toll(Random(f"{SEED} {stage}"))
    kept = identities(project)
    kills = max(1, KILLS // 8)
    while sum(toll.inside.values()) < kills and toll.early < 10 * kills:
        done = sum(toll.inside.values())
        early = toll.early
        toll.kill(project, stage, SIGNALS[(done + list(OUTPUTS).index(stage)) % 3], span)
        # What is there is whole, and what was there before is the same file.
        assert_whole(whole_outputs(project), expected)
        now = identities(project)
        assert kept.items() <= now.items()
        kept = now
        if toll.early > early:
            forget(project, stage)
            kept = identities(project)
            span *= 0.8  # it was measured on a busier machine
    print(f"seed {SEED}, kills: {toll.inside}, too late: {toll.early}")
    finish(project, stage)
    assert kept.items() <= identities(project).items()
    assert project.outputs() == expected
    assert leftovers(project) == []
    assert sum(toll.inside.values()) == kills


@pytest.mark.parametrize("command", ["repro", "exp run", "exp run --temp"])
def test_dvc_killed_anywhere_goes_on_at_once_to_the_same_bytes(
    whole: tuple[Project, dict[str, float]], blank: Project, tmp_path: Path, command: str
) -> None:
    if command != "repro" and not MANY:
        pytest.skip("run when HLCLIP_KILLS is 20 or more")
    expected = whole[0].outputs()
    project = blank.copy(tmp_path / "project")
    # The stages that import torch take their time: with few kills, the two before them.
    arguments = [*command.split(), *([] if MANY else ["frames"])]
    toll = Toll(Random(f"{SEED} {command}"))
    kept = identities(project)
    kills = max(2, KILLS // 12)
    while sum(toll.inside.values()) < kills and toll.early < 10 * kills:
        how = ("alone", "group", "ctrl-c")[sum(toll.inside.values()) % 3]
        early = toll.early
        toll.kill_dvc(project, how, 8 if MANY else 0.6, *arguments)
        if toll.early > early:  # all is done, nothing is left to be killed in
            project, kept = blank.copy(tmp_path / f"project {early}"), {}
        now = identities(project)
        assert kept.items() <= now.items()
        kept = now
    # At once: a stage that was left alone may still be there.
    last = dvc(project, *arguments, *([] if command == "repro" else ["--name", "done"]))
    said, _ = last.communicate(timeout=300)
    assert last.returncode == 0, said
    print(f"seed {SEED}, kills: {toll.inside}, too late: {toll.early}")
    if "--temp" in command:
        project.run("dvc", "exp", "apply", "done")
    there = whole_outputs(project)
    assert there == {name: expected[name] for name in there}
    assert set(there) == (set(expected) if MANY else {f"outputs/{n}.json" for n in BEFORE_TORCH})
    assert kept.items() <= identities(project).items()
    assert leftovers(project) == []
    assert processes_in(project) == []
    assert sum(toll.inside.values()) == kills
