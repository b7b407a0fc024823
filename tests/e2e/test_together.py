"""Several runs at once, and on several threads: the same work once, the same results."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.formats.scores import read_scores
from hlclip.store import hold_alone
from hlclip.system.errors import HlclipError
from tests.e2e.conftest import Project
from tests.e2e.killing import ended, finish
from tests.e2e.wholeness import OUTPUTS, forget, identities, leftovers

pytestmark = pytest.mark.slow

MANY = int(os.environ.get("HLCLIP_KILLS", "0")) >= 20
TOLERANCE = 1e-5
"""Of a cosine, between runs on different numbers of threads, from the activations on."""


@pytest.fixture(scope="module")
def indexed(blank: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = blank.copy(tmp_path_factory.mktemp("together") / "project")
    finish(project, "index")
    return project


def test_four_runs_on_one_store_make_each_item_once(indexed: Project, tmp_path: Path) -> None:
    runs = [indexed.copy(tmp_path / f"run {number}") for number in range(4)]
    store = tmp_path / "store"
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "stages.frames"],
            cwd=run.root,
            env={"PATH": "/usr/bin:/bin", "HLCLIP_STORE": str(store)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for run in runs
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    manifests = {(run.root / "outputs" / "frames.json").read_bytes() for run in runs}
    assert len(manifests) == 1
    assert len(list(store.glob("frames/*/*.h5"))) == 6
    assert leftovers(Project(tmp_path, tmp_path)) == []


@pytest.mark.skipif(not MANY, reason="run when HLCLIP_KILLS is 20 or more")
def test_two_pipelines_on_one_store_end_as_one_alone(
    whole: tuple[Project, dict[str, float]], blank: Project, tmp_path: Path
) -> None:
    finished, _ = whole
    runs = [blank.copy(tmp_path / name) for name in ("one", "two")]
    store = tmp_path / "store"
    with ThreadPoolExecutor(len(runs)) as pool:
        list(pool.map(lambda run: run.run("dvc", "repro", HLCLIP_STORE=str(store)), runs))
    for run in runs:
        assert run.outputs() == finished.outputs()
    assert _items(store) == _items(finished.root / ".hlclip" / "store")
    assert leftovers(Project(tmp_path, tmp_path)) == []


@pytest.mark.parametrize("stage", ["frames", "activations", "train", "score"])
def test_the_store_is_held_until_the_output_stands(
    whole: tuple[Project, dict[str, float]], tmp_path: Path, stage: str
) -> None:
    """So `hlclip store gc` finds nobody at work only where a manifest names what was made."""
    project = whole[0].copy(tmp_path / "project")
    forget(project, stage)
    status, said = ended(project, stage, first=_look_who_holds_the_store)
    assert status == 0, said
    assert "held: " in said
    assert "free: " not in said


def _look_who_holds_the_store() -> None:
    replace = os.replace

    def watched(source: Path, target: Path) -> None:
        if "outputs" in target.parts:
            try:
                with hold_alone(Path(".hlclip/store")):
                    print(f"free: {target}")
            except HlclipError:
                print(f"held: {target}")
        replace(source, target)

    os.replace = watched


@pytest.mark.parametrize("workers", [1, 2, 4, 7] if MANY else [4])
def test_any_number_of_workers_gives_the_same_bytes(
    whole: tuple[Project, dict[str, float]], blank: Project, tmp_path: Path, workers: int
) -> None:
    finished, _ = whole  # with as many as this machine has cores
    project = blank.copy(tmp_path / "project")
    for stage in OUTPUTS:
        status, said = ended(project, stage, first=partial(_work_with, workers))
        assert status == 0, said
    # index and frames take them from the cores, activations and what reads batches have their own.
    pools = (project.root / "pools.txt").read_text().split()
    assert pools.count(str(workers)) >= 3, pools
    assert str(workers + 4) in pools
    assert _items(project.root / ".hlclip" / "store") == _items(finished.root / ".hlclip" / "store")
    assert project.outputs() == finished.outputs()


@pytest.mark.skipif(not MANY, reason="run when HLCLIP_KILLS is 20 or more")
def test_threads_change_a_score_by_no_more_than_is_said(
    indexed: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(indexed, "frames")
    cosines: list[np.ndarray] = []
    for threads in ("1", "2"):
        project = indexed.copy(tmp_path / threads)
        before = identities(project)
        for stage in ("activations", "train", "score"):
            project.run("python", "-m", f"stages.{stage}", OMP_NUM_THREADS=threads)
        assert before.items() <= identities(project).items()
        splits = read_scores(project.root / "outputs" / "score.safetensors")
        cosines.append(
            np.concatenate([m.ravel() for s in splits.values() for m in s.cosines.values()])
        )
    assert np.abs(cosines[0]).max() > 0.01
    difference = np.abs(cosines[0] - cosines[1]).max()
    print(f"1 and 2 threads: cosines differ by at most {difference:.2g}")
    assert difference <= TOLERANCE


def _work_with(workers: int) -> None:
    """In a stage's process: as on a machine with so many cores; notes the size of each pool."""
    from hlclip.pipeline import activations  # noqa: PLC0415 (the project's own)
    from hlclip.training import batches  # noqa: PLC0415 (the project's own)

    os.cpu_count = lambda: workers
    activations._IN_FLIGHT = batches.READERS = workers
    begin = ThreadPoolExecutor.__init__

    def noted(self: ThreadPoolExecutor, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        with Path("pools.txt").open("a") as file:
            file.write(f"{self._max_workers}\n")

    ThreadPoolExecutor.__init__ = noted


def _items(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*.h5")}
