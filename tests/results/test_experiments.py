"""Finished runs of a small real repository: figures stand only with the parameters that made them.

Its stages take no time; git and DVC are real.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from dvc.cli import main as dvc_command

from hlclip.results import ExperimentsError, comparable, finished_experiments, lines

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
    outs: [outputs/figures.json]
"""
EVALUATE = """
window=$(sed -n 's/.*window: //p' params.yaml)
figures='{"VeryGood": {"mAP": '$((30 + window))'.5, "HIT@1": 60.0}}'
echo '{"val": {"queries": 2, "without video": 0, "HL-CLIP-2": '$figures'}}' > outputs/figures.json
"""
PARAMS = "train:\n  blocks: 2\n  seed: 0\npool:\n  window: 3\n"
ABSENT = "DVC's cache lacks its outputs/figures.json, as after a clone; `dvc fetch --all-commits`"


def damage_files(folder: Path) -> None:
    for path in filter(Path.is_file, folder.rglob("*")):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes() + b" ")


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
        Path(".gitignore").write_text("/outputs/\n")
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
    # Next to the parameters of the commit, with the files of the experiment or without.
    git("checkout", "--", "params.yaml", "dvc.lock")
    assert shown() == ({"workspace": 33.5}, ["wide: pool.window = 7, not 3"])
    Path("outputs/figures.json").unlink()
    assert shown() == ({"workspace": 33.5}, ["wide: pool.window = 7, not 3"])


def test_figures_of_another_branch_are_not_the_workspaces(here: Path):
    git("checkout", "-qb", "wide")
    Path("params.yaml").write_text(PARAMS.replace("window: 3", "window: 7"))
    dvc("repro")
    git("commit", "-qam", "wide")
    git("checkout", "-q", "main")
    assert shown() == ({"workspace": 33.5}, [])


@pytest.mark.parametrize("damage", [lambda folder: folder.rename("moved"), damage_files])
def test_figures_are_those_whose_md5_dvc_lock_names(here: Path, damage: Callable[[Path], object]):
    """Also without DVC's cache, or with a damaged one: the working folder has the file."""
    dvc("exp", "run", "-n", "wide", "-S", "pool.window=7")
    damage(Path(".dvc/cache"))
    figures, left_out = shown()
    assert figures == {"workspace": 37.5}
    (of_commit,) = left_out
    assert of_commit.startswith(f"main: {ABSENT}")
    Path("outputs/figures.json").write_text("{}")
    with pytest.raises(ExperimentsError, match="no finished run"):
        shown()


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


EVALUATE_TVSUM = """
out=outputs/figures.json
domain=$(sed -n 's/.*domain: //p' params.yaml)
base=$(sed -n 's/.*base: //p' params.yaml)
groups() { echo '{"all domains": {"top-5 mAP": '$1'}, "'$domain'": {"top-5 mAP": '$1'}}'; }
random='{"all domains": {"top-5 mAP": 42.0, "top-5 mAP sd": 4.0}}'
echo '{"test": {"queries": 5, "without video": 0, "data set": "tvsum", "protocol": "leave-one-out",
"zero-shot": '$(groups 50.0)', "HL-CLIP-2": '$(groups $base)',
"references": {"random": '$random', "annotators'"'"' mean": '$(groups 84.0)'}}}' > $out
"""


def test_runs_that_hold_out_one_domain_each_are_averaged(blank: Path, tmp_path: Path):
    folder = shutil.copytree(blank, tmp_path / "tvsum")
    with chdir(folder):
        stages = STAGES.replace("echo a", "grep domain params.yaml")
        stages = stages.replace("params: [pool]", "params: [pool, data]")
        Path("dvc.yaml").write_text(
            stages.replace("outs: [outputs/index", "params: [data]\n    outs: [outputs/index")
        )
        Path("evaluate.sh").write_text(EVALUATE_TVSUM)
        Path("params.yaml").write_text(PARAMS + "data:\n  domain: BK\n  base: 60\n")
        dvc("repro")
        git("add", "--all")
        git("commit", "-qm", "start")
        dvc("exp", "run", "-S", "data.domain=BT", "-S", "data.base=70")
        runs, left_out = finished_experiments(Path())
        shown, others = comparable(runs)
    # The commit and the working folder are BK's and BT's, and so is the experiment.
    assert (left_out, others) == ([], [])
    assert sorted(run.domain for run in shown) == ["BK", "BT"]
    table = {line.variant: line for line in lines(shown)}
    assert table["HL-CLIP-2"].mean == {"top-5 mAP": 65, "BK": 60, "BT": 70}
    assert table["zero-shot"].mean["top-5 mAP"] == 50
    assert table["annotators' mean"].mean["top-5 mAP"] == 84
    random = table["random"].sd
    assert random is not None
    assert random["top-5 mAP"] == pytest.approx(4 / 2**0.5)
