"""Finished runs of a small real repository: figures stand only with the parameters that made them.

Its stages take no time; git and DVC are real.
"""

import os
import shutil
import subprocess
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.cli import main as dvc_command

from hlclip.results import ExperimentsError, comparable, finished_experiments

STAGES = """
stages:
  index:
    cmd: mkdir -p outputs && echo a > outputs/index.json
    outs: [outputs/index.json]
  train:
    cmd: grep seed params.yaml > outputs/model
    params: [train]
    deps: [outputs/index.json]
    outs: [outputs/model]
  evaluate:
    cmd: sh evaluate.sh
    params: [pool]
    deps: [outputs/model, evaluate.sh]
    metrics: [metrics.json]
"""
EVALUATE = """
window=$(sed -n 's/.*window: //p' params.yaml)
figures='{"VeryGood": {"mAP": '$((30 + window))'.5, "HIT@1": 60.0}}'
echo '{"val": {"queries": 2, "without video": 0, "HL-CLIP-2": '$figures'}}' > metrics.json
"""
PARAMS = "train:\n  blocks: 2\n  seed: 0\npool:\n  window: 3\n"
CHECKOUT = "metrics.json is not of the run in dvc.lock; `dvc checkout`"


def git(*arguments: str) -> None:
    early = {**os.environ, "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}  # before every experiment
    subprocess.run(["git", *arguments], check=True, capture_output=True, env=early)


def dvc(*arguments: str) -> None:
    assert dvc_command([*arguments, "--quiet"]) == 0


def shown() -> tuple[dict[str, float], list[str]]:
    """The runs of the table and their mAP, and what it leaves out."""
    runs, unfinished = finished_experiments(Path())
    runs, others = comparable(runs)
    figures = {run.name: run.figures["val"]["HL-CLIP-2"]["VeryGood"]["mAP"] for run in runs}
    return figures, unfinished + others


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository without a commit in which nothing ran."""
    folder = tmp_path_factory.mktemp("runs") / "blank"
    folder.mkdir()
    with chdir(folder):
        git("init", "-q", "-b", "main")
        dvc("init")
        for key in ("name", "email"):
            git("config", f"user.{key}", "t")
        Path("dvc.yaml").write_text(STAGES)
        Path("params.yaml").write_text(PARAMS)
        Path("evaluate.sh").write_text(EVALUATE)
        Path(".gitignore").write_text("/outputs/\n/metrics.json\n")
    return folder


@pytest.fixture(scope="module")
def finished(blank: Path) -> Path:
    """The run of the commit, with window 3."""
    folder = shutil.copytree(blank, blank.parent / "finished")
    with chdir(folder):
        dvc("repro")
        git("add", "--all")
        git("commit", "-qm", "start")
    return folder


@pytest.fixture
def here(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "project"))
    return tmp_path


def test_a_table_after_another_experiment_shows_the_workspaces_run_and_names_the_other(here: Path):
    dvc("exp", "run", "-n", "wide", "-S", "pool.window=7")
    assert shown() == ({"workspace": 37.5}, ["main: pool.window = 3, not 7"])
    # The files of the experiment next to the parameters of the commit.
    git("checkout", "--", "params.yaml", "dvc.lock")
    figures, left_out = shown()
    assert figures == {"wide": 37.5}  # the newest
    assert left_out[0].startswith(f"workspace: {CHECKOUT}")
    dvc("checkout")
    assert shown() == ({"workspace": 33.5}, ["wide: pool.window = 7, not 3"])


def test_figures_of_another_branch_are_not_the_workspaces(here: Path):
    git("checkout", "-qb", "wide")
    Path("params.yaml").write_text(PARAMS.replace("window: 3", "window: 7"))
    dvc("repro")
    git("commit", "-qam", "wide")
    git("checkout", "-q", "main")
    figures, (left_out,) = shown()
    assert figures == {"main": 33.5}
    assert left_out.startswith(f"workspace: {CHECKOUT}")


def test_parameters_that_did_not_run_have_no_figures(here: Path):
    Path("params.yaml").write_text(PARAMS.replace("window: 3", "window: 7"))
    left_out = "workspace: params.yaml has changed since; `dvc exp run` runs it"
    assert shown() == ({"main": 33.5}, [left_out])


def test_stages_of_several_runs_have_no_figures(here: Path):
    Path("params.yaml").write_text(PARAMS.replace("seed: 0", "seed: 1"))
    dvc("repro", "train")
    figures, (left_out,) = shown()
    assert figures == {"main": 33.5}
    assert left_out.startswith(
        "workspace: its stages are of several runs: evaluate read another outputs/model"
    )
    assert "`dvc repro`" in left_out


def test_figures_that_were_recorded_under_other_blocks_are_left_out(here: Path):
    Path("params.yaml").write_text(PARAMS.replace("blocks: 2", "blocks: 1"))
    dvc("commit", "--force")  # no stage runs
    figures, (left_out,) = shown()
    assert figures == {"main": 33.5}
    assert left_out == (
        "workspace: its figures are of HL-CLIP-2, not of train.blocks = 1, train.temporal = none; "
        "`dvc repro --force` makes them again"
    )
    Path("params.yaml").write_text(PARAMS.replace("blocks: 2", "blocks: 2\n  temporal: conv"))
    dvc("commit", "--force")
    figures, (left_out,) = shown()
    assert figures == {"main": 33.5}
    assert "are of HL-CLIP-2, not of train.blocks = 2, train.temporal = conv;" in left_out


def test_figures_of_a_temporal_head_belong_to_its_parameters(here: Path):
    with_head = PARAMS.replace("blocks: 2", "blocks: 0\n  temporal: conv")
    Path("params.yaml").write_text(with_head)
    Path("evaluate.sh").write_text(EVALUATE.replace("HL-CLIP-2", "HL-CLIP-0+conv"))
    dvc("repro")
    runs, unfinished = finished_experiments(Path())
    assert [run.name for run in runs] == ["workspace", "main"]
    assert unfinished == []
    assert comparable(runs)[1] == [
        "main: train.temporal = absent, not conv"
    ]  # train.blocks may differ, the head may not


def test_a_shallow_clone_is_named(here: Path, monkeypatch: pytest.MonkeyPatch):
    git("clone", "-q", "--depth", "1", Path().absolute().as_uri(), str(here / "shallow"))
    monkeypatch.chdir(here / "shallow")
    runs, (first, *_) = finished_experiments(Path())
    assert runs == []
    assert "shallow clone" in first
    assert "git fetch --unshallow" in first


def test_a_repository_without_a_commit_is_named(blank: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(blank)
    with pytest.raises(ExperimentsError, match=r"has no commit.*\n`git add --all && git commit"):
        finished_experiments(Path())
