"""dvc.lock: the parameters and files of the last run, as DVC itself writes them."""

from contextlib import chdir
from pathlib import Path

import pytest
from dvc.repo import Repo

from hlclip.formats import DamagedFileError, flat, parse_lock, read_lock

STAGES = """
stages:
  make:
    cmd: mkdir -p folder/deep && echo 1 | tee file folder/b folder/a.x folder/deep/c > /dev/null
    params: [pool, train.batch]
    outs: [file, folder]
  measure:
    cmd: cp file figures.json
    params: [train]
    deps: [file, code.py]
    metrics: [figures.json]
"""
OUTPUTS = ["file", "folder", "figures.json"]
LOCK = """
stages:
  make: {params: {params.yaml: {train.batch: 8}}, outs: [{path: file, md5: a1}]}
  measure: {params: {params.yaml: {train: {batch: %s}}}, deps: [{path: file, md5: %s}]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After DVC ran two stages."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "params.yaml").write_text("pool: {window: 3}\ntrain: {batch: 8, seed: 0}\n")
    (folder / "code.py").write_text("")
    with chdir(folder), Repo.init(no_scm=True) as repo:
        repo.reproduce()  # pyright: ignore[reportCallIssue] (bound by DVC)
    return folder


def test_a_lock_has_the_parameters_inputs_and_outputs_of_the_run(folder: Path):
    lock = read_lock(folder / "dvc.lock")
    assert lock.params == {"pool.window": 3, "train.batch": 8, "train.seed": 0}
    assert list(lock.inputs) == ["code.py"]
    assert list(lock.outputs) == OUTPUTS
    assert lock.mixed == []


def test_files_and_folders_are_hashed_as_dvc_hashes_them(folder: Path):
    lock = read_lock(folder / "dvc.lock")
    assert lock.foreign(folder, OUTPUTS) == []
    (folder / "folder" / "deep" / "c").write_text("2\n")
    (folder / "figures.json").unlink()
    assert lock.foreign(folder, [*OUTPUTS, "code.py"]) == ["folder", "figures.json", "code.py"]


def test_stages_of_several_runs_are_named():
    assert parse_lock((LOCK % (8, "a1")).encode()).mixed == []
    assert parse_lock((LOCK % (9, "a1")).encode()).mixed == [
        "train.batch is 9 in measure, 8 in a stage before it"
    ]
    assert parse_lock((LOCK % (8, "b2")).encode()).mixed == [
        "measure read another file than the last run made"
    ]


@pytest.mark.parametrize("content", [b"\xff", b"[", b"- 1", b"stages: [1]", b"stages: {a: 1}"])
def test_a_damaged_lock_is_named(content: bytes):
    with pytest.raises(DamagedFileError, match=r"^dvc\.lock: damaged.*\n.*git checkout"):
        parse_lock(content)


def test_an_empty_lock_is_of_no_run():
    assert parse_lock(b"").outputs == {}


def test_parameters_are_named_as_on_the_command_line():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}
