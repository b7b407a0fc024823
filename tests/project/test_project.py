"""`hlclip init`: a project is complete or not there, and has the repository's one pipeline."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.cli.init import init
from hlclip.doctor import Finding, examine
from hlclip.formats import Annotation
from hlclip.params import load_params
from hlclip.project import presets
from tests.models import save_model, tiny_config

ROOT = Path(__file__).parents[2]
FILES = {
    "params.yaml", "dvc.yaml", "requirements.txt", "README.md", ".gitignore", ".dvcignore",
    ".dvc/config", ".dvc/.gitignore",
    *(f".dvc/plots/{path.name}" for path in (ROOT / ".dvc/plots").iterdir()),
}  # fmt: skip


def make(folder: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["init", str(folder), *map(str, arguments)])


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] != ".git"}


def yaml(path: Path) -> dict:
    return YAML(typ="safe", pure=True).load(path)


def test_a_new_project_is_a_repository_of_git_and_dvc_and_says_what_comes_next(tmp_path: Path):
    folder = tmp_path / "my films"
    result = make(folder)
    assert result.exit_code == 0
    assert files(folder) == FILES
    assert (folder / "data/annotations").is_dir()
    assert (folder / "data/videos").is_dir()
    for words in (
        "git and DVC are set up (git init, dvc init)",
        f"put the annotations into {folder}/data/: annotations/train.jsonl, annotations/val.jsonl",
        "a split that the data set lacks: write null for it in params.yaml",
        "as videos/<vid>.<extension>",
        f"cd '{folder}'",
        "hlclip doctor",
        "dvc repro",
    ):
        assert words in result.stdout
    # The repository is there, and hides what runs make and nothing else.
    for name in ("metrics.json", "outputs/index.json", ".hlclip/store/x", "data/videos/a.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    status = ["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=all", "-z"]
    shown = subprocess.run(status, check=True, capture_output=True, text=True).stdout
    assert {entry[3:] for entry in shown.split("\0") if entry} == FILES


@pytest.mark.parametrize("preset", presets())
def test_the_parameters_are_those_of_the_preset(preset: str, tmp_path: Path):
    data = tmp_path / 'films of "Ü" #1'
    assert make(tmp_path / "mine", "--preset", preset, "--data", data).exit_code == 0
    made = tmp_path / "mine" / "params.yaml"
    params = load_params(made)
    assert params.data.root == str(data)
    expected = load_params(presets()[preset])
    assert params.model_copy(update={"data": expected.data}) == expected
    lines = [
        path.read_text().split("\ndata:")[1].splitlines() for path in (made, presets()[preset])
    ]
    different = [(a, b) for a, b in zip(*lines, strict=True) if a != b]
    assert len(different) == 1  # data.root; comments with the allowed values are the same
    assert not data.exists()


def test_the_doctor_asks_for_what_is_not_there_yet_and_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    make(tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    tiny = {"model": save_model(tmp_path / "model", tiny_config()), "pretrained": None}
    params = load_params()
    encoder = params.encoder.model_copy(update=tiny)
    frames = params.frames.model_copy(update={"size": 32})
    params = params.model_copy(update={"encoder": encoder, "frames": frames})
    found: list[Finding] = list(examine(params, measured=False))
    problems = {finding.about: finding for finding in found if finding.state == "problem"}
    splits = {f"annotations {split}" for split in ("train", "val", "test")}
    assert problems.keys() - {"git identity", "videos"} == {"git", *splits}
    assert "no commit yet" in problems["git"].found
    Path("requirements.txt").write_text("hlclip==999.1\n")
    (version,) = [each for each in examine(params, measured=False) if each.about == "version"]
    assert version.state == "problem"
    assert "expected hlclip==999.1" in version.found


def test_the_help_names_every_preset():
    words = (init.__doc__ or "").split("Presets:")[1].split("Examples:")[0].split()
    assert set(presets()) <= set(words)


def test_the_pipeline_is_the_repositorys_with_the_installed_stages(tmp_path: Path):
    make(tmp_path / "mine")
    ours, made = yaml(ROOT / "dvc.yaml"), yaml(tmp_path / "mine" / "dvc.yaml")
    assert made["plots"] == ours["plots"]
    assert list(made["stages"]) == list(ours["stages"])
    for name, stage in ours["stages"].items():
        inputs = [dep for dep in stage["deps"] if dep.startswith(("outputs/", "${"))]
        assert made["stages"][name] == stage | {
            "cmd": f"exec python -m hlclip.project {name}",
            "deps": [*inputs, "requirements.txt"],
        }


def test_existing_files_are_named_and_kept(tmp_path: Path):
    (tmp_path / "params.yaml").write_text("mine")
    (tmp_path / "dvc.yaml").mkdir()
    result = make(tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path}: params.yaml, dvc.yaml exist already; nothing was written" in result.stderr
    assert files(tmp_path) == {"params.yaml"}
    assert not (tmp_path / ".git").exists()


def test_other_files_are_no_obstacle(tmp_path: Path):
    (tmp_path / "data/videos").mkdir(parents=True)
    (tmp_path / "data/videos/a.mp4").write_text("mine")
    assert make(tmp_path).exit_code == 0
    assert files(tmp_path) == FILES | {"data/videos/a.mp4"}


@pytest.mark.parametrize("gone", ["dvc.yaml", ".dvc", ".git"])
def test_what_a_killed_call_left_is_completed(gone: str, tmp_path: Path):
    make(tmp_path / "mine")
    path = tmp_path / "mine" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if gone == ".git":
        path.mkdir()  # a killed `git init` left a folder that is no repository
    assert make(tmp_path / "mine").exit_code == 0
    assert files(tmp_path / "mine") == FILES
    subprocess.run(["git", "-C", str(tmp_path / "mine"), "status"], check=True, capture_output=True)


def test_a_call_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = tmp_path / "gitconfig"
    config.write_text("[user\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    mine = tmp_path / "other files" / "mine"
    mine.parent.mkdir()
    result = make(mine)
    assert result.exit_code == 2
    assert result.stderr.startswith("git init: ")
    assert str(config) in result.stderr
    assert list(mine.parent.iterdir()) == []
    # A file where a folder belongs is met when other files are written already.
    mine.mkdir()
    (mine / ".dvc").write_text("mine")
    result = make(mine)
    assert result.exit_code == 2
    assert f"{mine}/.dvc: cannot be written" in result.stderr
    assert files(mine) == {".dvc"}


def test_next_to_another_repository_it_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    subprocess.run(["git", "init", "-q", str(tmp_path / "clone")], check=True)
    monkeypatch.chdir(tmp_path / "clone")
    assert make(Path("../mine"), "--data", "../films").exit_code == 0
    assert (tmp_path / "mine" / ".git").is_dir()
    assert load_params("../mine/params.yaml").data.root == str(tmp_path / "films")


def test_within_another_repository_git_is_left_alone(tmp_path: Path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    result = make(tmp_path / "sub" / "mine")
    assert result.exit_code == 0
    assert f"it lies in the git repository {tmp_path}, so git init was not run" in result.stdout
    assert files(tmp_path / "sub" / "mine") == FILES
    assert not (tmp_path / "sub" / "mine" / ".git").exists()


def test_without_git_the_project_is_made_and_the_rest_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = make(tmp_path / "mine")
    assert result.exit_code == 0
    assert "it needs git, which is not installed. Install it, then run git init" in result.stdout
    assert files(tmp_path / "mine") == FILES


def test_an_unknown_preset_names_those_that_exist(tmp_path: Path):
    result = make(tmp_path / "mine", "--preset", "tvsom")
    assert result.exit_code == 2
    assert "--preset tvsom: there is no such preset" in result.stderr
    assert all(name in result.stderr for name in presets())
    assert not (tmp_path / "mine").exists()


def test_the_example_in_the_readme_is_a_row(tmp_path: Path):
    make(tmp_path / "mine")
    text = (tmp_path / "mine" / "README.md").read_text()
    row = json.loads(text.split("```json\n")[1].split("```")[0])
    assert Annotation.model_validate(row).clips == 75
    assert str(tmp_path / "mine" / "data") in text
