"""The examination before a run: what is wrong is a problem with a remedy; nothing is changed."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.doctor import Finding, examine
from hlclip.doctor.forecast import forecast_seconds, gpus
from hlclip.formats import Annotation
from hlclip.model import load_encoder
from hlclip.params import Params, load_params
from hlclip.system import in_words
from tests.films import film
from tests.models import save_model, tiny_config
from tests.runs import write_lock

ROOT = Path(__file__).parents[2]


class Project:
    """A small data set in the folder that the examination looks at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.content: dict[str, Any] = load_params(ROOT / "params.yaml").model_dump()
        self.set(
            "data", root=str(folder / "data"), annotations={"train": "t.jsonl", "val": "v.jsonl"}
        )
        self.set("evaluate", splits=["val"])
        self.set("encoder", model=save_model(folder / "model", tiny_config()))
        self.set("frames", size=32)
        self.videos = folder / "data" / "videos"
        self.videos.mkdir(parents=True)
        self.annotate("t.jsonl", "a", "b")
        self.annotate("v.jsonl", "c")
        for vid in "abc":
            film(self.videos / f"{vid}.mp4", "-c:v", "mpeg4", seconds=6)

    def set(self, section: str, **values: Any) -> None:
        self.content[section].update(values)

    def annotate(self, name: str, *vids: str) -> None:
        facts = {"query": "a cat", "duration": 6}
        lines = [json.dumps({"qid": n, "vid": vid, **facts}) for n, vid in enumerate(vids)]
        (self.folder / "data" / name).write_text("\n".join(lines) + "\n")

    def params(self) -> Params:
        path = self.folder / "params.yaml"
        with path.open("w") as file:
            YAML().dump(self.content, file)
        return load_params(path)

    def examine(self) -> dict[str, Finding]:
        return {finding.about: finding for finding in examine(self.params(), measured=False)}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HLCLIP_STORE", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path.parent / "no git config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    git("init", "-q")
    for key in ("name", "email"):
        git("config", f"user.{key}", "t")
    git("add", ".")
    git("commit", "-qm", "start", "--allow-empty")
    return Project(tmp_path)


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def test_a_whole_project_has_no_problem_and_is_not_changed(project: Project):
    params = project.params()
    before = snapshot(project.folder)
    found = {finding.about: finding for finding in examine(params)}
    assert [f for f in found.values() if f.state == "problem"] == []
    assert found["annotations train"].found == "2 rows on 2 videos, t.jsonl"
    assert found["videos"].state == "ok"
    assert "frames 0:00:0" in found["time"].found
    assert "GB" in found["memory"].found
    assert snapshot(project.folder) == before


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("temporal", "trains"), [("none", False), ("conv", True)])
def test_a_temporal_head_alone_takes_time_to_train(project: Project, temporal: str, trains: bool):
    project.set("train", blocks=0, temporal=temporal)
    rows = [Annotation(qid=0, vid="a", query="a cat", duration=6)]
    params, cpu = project.params(), torch.device("cpu")
    encoder = load_encoder(params.encoder.model, None, cached_blocks=2)
    forecast = forecast_seconds([], {"train": rows, "val": rows}, params, encoder, cpu)
    assert (forecast["train"] > 0) == trains
    assert forecast["score"] > 0


def test_gpus_share_the_rows_of_a_step_and_processes_on_a_cpu_do_not(project: Project):
    project.set("train", processes=4)
    params = project.params()
    assert gpus(params, torch.device("cuda")) == 4
    assert gpus(params, torch.device("cpu")) == 1


@pytest.mark.parametrize(("dtype", "size"), [("float16", 2), ("bfloat16", 2), ("float32", 4)])
def test_the_disk_is_computed_from_the_models_shapes(project: Project, dtype: str, size: int):
    project.set("encoder", dtype=dtype)
    project.annotate("v.jsonl", *(f"v{n}" for n in range(10_000)))
    project.set("data", max_missing=1.0)
    clips = 3 * (2 + 10_000)
    frames, images = clips * 32 * 32 * 3, clips * (4 * 4 + 1) * 64 * size
    found = project.examine()["disk"].found
    assert f"frames {in_words(frames)}, activations {in_words(images)}, queries " in found


def test_a_full_disk_is_a_problem(project: Project, monkeypatch: pytest.MonkeyPatch):
    # A disk that is full cannot be had in a test: what Python reports of it is replaced.
    usage = type(shutil.disk_usage(project.folder))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 100))
    assert project.examine()["disk"].state == "problem"
    assert "HLCLIP_STORE" in project.examine()["disk"].remedy


def test_missing_and_unreadable_videos_are_named(project: Project):
    (project.videos / "a.mp4").unlink()
    (project.videos / "b.mp4").write_bytes(b"no video")
    found = project.examine()["videos"]
    assert found.state == "problem"
    assert found.found == "1 of 3 missing, 1 unreadable (66.67%)"
    assert found.names[0] == "a: no file videos/a.*"
    assert found.names[1].startswith("b: not readable as a video")
    assert "-S data.max_missing=0.6667" in found.remedy
    project.set("data", max_missing=0.6667)
    assert project.examine()["videos"].state == "note"


def test_videos_that_no_row_names_are_not_found(project: Project):
    for name in ("t.jsonl", "v.jsonl"):
        (project.folder / "data" / name).unlink()
    found = project.examine()["videos"]
    assert found.state == "note"
    assert "no row of the annotations could be read" in found.found


def test_all_annotation_files_are_looked_at(project: Project):
    (project.folder / "data" / "t.jsonl").unlink()
    (project.folder / "data" / "v.jsonl").write_text('{"qid": 1}\n')
    found = project.examine()
    assert found["annotations train"].state == "problem"
    assert "No such file" in found["annotations train"].found
    assert "that the data set lacks is null" in found["annotations train"].remedy
    assert "v.jsonl:1: query: missing" in found["annotations val"].names[0]


def test_a_sample_that_is_not_drawn_yet_is_no_problem(project: Project):
    project.set("data", root="sample/data")
    assert project.examine()["annotations train"].state == "problem"
    stage = project.folder / "sample" / "dvc.yaml"
    stage.parent.mkdir()
    stage.write_text("stages: {render: {cmd: draw, outs: [data]}}\n")
    found = project.examine()
    missing = "sample/data, sample/model-gap"
    assert found["sample"].found == f"not there yet: {missing}; the first run makes it"
    assert not {"annotations train", "videos"} & found.keys()


def test_commands_of_dvc_want_the_sample_wherever_the_data_are(project: Project):
    project.params()
    stage = project.folder / "sample" / "dvc.yaml"
    stage.parent.mkdir()
    stage.write_text("stages: {render: {cmd: draw, outs: [data]}}\n")
    said = run("--quick").stdout
    assert "`dvc exp save` end with an error of DVC; `dvc repro sample/dvc.yaml` makes it" in said
    (stage.parent / "data").mkdir()
    assert "not there: sample/model-gap; `dvc checkout`" in run("--quick").stdout
    (stage.parent / "model-gap").mkdir()
    assert "not there" not in run("--quick").stdout


def test_a_file_with_a_releases_name_must_be_the_release(project: Project):
    project.set("data", annotations={"train": "t.jsonl", "val": "highlight_val_release.jsonl"})
    project.annotate("highlight_val_release.jsonl", "c")
    found = project.examine()["annotations val"]
    assert found.state == "problem"
    assert "1550 rows on 1519 videos" in found.found


def test_the_release_is_recognised(project: Project, qvhighlights_dir: Path):
    path = qvhighlights_dir / "highlight_val_release.jsonl"
    project.set("data", annotations={"train": "t.jsonl", "val": str(path)})
    found = project.examine()["annotations val"]
    assert found.state == "ok"
    assert "the release of QVHighlights" in found.found


def test_videos_in_train_and_val_are_named(project: Project):
    project.annotate("v.jsonl", "a")
    assert project.examine()["annotations"].names == ["a"]


def test_frames_that_do_not_fit_the_model(project: Project):
    project.set("frames", size=64, resize="squash")
    found = project.examine()["model"]
    assert found.state == "problem"
    assert found.remedy == "-S frames.size=32 -S frames.resize=shortest"


def test_a_model_whose_images_cannot_be_made(project: Project):
    path = project.folder / "model" / "open_clip_config.json"
    path.write_text(path.read_text().replace('"shortest"', '"longest"'))
    found = project.examine()["model"]
    assert (found.state, found.remedy) == (
        "problem",
        "`hlclip models` lists those that can be used",
    )
    assert "resized by 'longest'" in found.found


def test_weights_of_another_activation_function(project: Project):
    project.set("encoder", model="ViT-B-32", pretrained="openai")
    found = project.examine()["model"]
    assert "another activation function" in found.found
    assert "ViT-B-32-quickgelu" in found.remedy


def test_a_device_that_is_not_there(project: Project):
    project.set("train", device="cuda:99")
    assert project.examine()["device"].state == "problem"


def test_without_git_there_are_no_experiments(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (project.folder / ".git").rename(project.folder / "not-git")
    assert project.examine()["git"].state == "problem"


def test_without_a_commit_there_are_no_experiments(project: Project):
    git("update-ref", "-d", "HEAD")
    found = project.examine()["git"]
    assert found.state == "problem"
    assert "git commit" in found.remedy


def test_dvc_needs_a_git_identity(project: Project, monkeypatch: pytest.MonkeyPatch):
    assert "git identity" not in project.examine()
    git("config", "--unset", "user.email")
    found = project.examine()["git identity"]
    assert found.state == "problem"
    assert found.found.startswith("user.email not set")
    assert "git config --global user.name" in found.remedy
    for who in ("AUTHOR", "COMMITTER"):  # DVC takes them from there, too
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "t@t")
    assert "git identity" not in project.examine()


def test_a_shallow_clone_loses_experiments(project: Project, monkeypatch: pytest.MonkeyPatch):
    git("commit", "-qm", "second", "--allow-empty")
    clone = project.folder / "clone"
    git("clone", "-q", "--depth", "1", project.folder.as_uri(), str(clone))
    monkeypatch.chdir(clone)
    assert project.examine()["git history"].remedy == "`git fetch --unshallow`"
    git("fetch", "-q", "--unshallow")
    assert "git history" not in project.examine()


def test_a_folder_in_which_temporary_experiments_fail(
    project: Project, monkeypatch: pytest.MonkeyPatch
):
    assert "folder" not in project.examine()
    folder = project.folder / "Übung"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert project.examine()["folder"].state == "problem"


def held(pid: int) -> str:
    """What DVC writes while it runs a stage."""
    info = {"pid": pid, "cmd": "dvc repro"}
    return json.dumps({"write": {"metrics.json": info}, "read": {"params.yaml": [info]}})


@pytest.mark.parametrize(
    ("content", "state", "said"),
    [
        ("", "problem", "was killed left .dvc/tmp/rwlock damaged"),
        ('{"read"', "problem", "damaged"),
        ('{"write": [1]}', "problem", "damaged"),
        # Its id differs from process to process, and those that share the tests compare names.
        pytest.param(
            held(os.getpid()),
            "note",
            f"`dvc repro` (process {os.getpid()}) is running here",
            id="running",
        ),
        (held(2**22 + 1), "ok", "no other run"),  # more than a process may have
        ('{"read": {}, "write": {}}', "ok", "no other run"),
        ("{}", "ok", "no other run"),
    ],
)
def test_what_a_killed_or_a_second_dvc_leaves(
    project: Project, content: str, state: str, said: str
):
    lock = project.folder / ".dvc" / "tmp" / "rwlock"
    lock.parent.mkdir()
    lock.write_text(content)
    found = project.examine()["DVC"]
    assert found.state == state
    assert said in found.found
    assert found.remedy in run("--quick").stdout  # also that of a note


def test_parameters_that_a_failed_experiment_left_are_named(project: Project):
    assert "last run" not in project.examine()
    write_lock(project.folder, project.params())
    assert project.examine()["last run"].state == "ok"
    project.set("pool", window=9)
    project.set("train", seed=5)
    found = project.examine()["last run"]
    assert found.state == "note"
    assert found.names == [
        "pool.window = 9, in the last run 3",
        "train.seed = 5, in the last run 0",
    ]
    assert "git checkout -- params.yaml" in found.found


def test_a_split_that_is_null_is_no_difference_to_the_last_run(project: Project):
    project.content["data"]["annotations"]["test"] = None
    project.set("evaluate", splits=["val", "test"])
    stage = {"cmd": "all", "params": {"params.yaml": project.content}}
    lock = json.dumps({"schema": "2.0", "stages": {"all": stage}})  # which is YAML
    (project.folder / "dvc.lock").write_text(lock)
    assert project.examine()["last run"].state == "ok"


def test_parameters_of_a_run_on_other_data_are_not_compared(project: Project):
    write_lock(project.folder, project.params())
    project.set("data", root="elsewhere")
    project.set("pool", window=9)
    found = project.examine()["last run"]
    assert found.found == f"it was on other data, {project.folder / 'data'}"
    assert not found.names


def test_stages_of_several_runs_are_named(project: Project):
    write_lock(project.folder, project.params())
    path = project.folder / "dvc.lock"
    more = "stages:\n  later: {params: {params.yaml: {pool.window: 9}}}"
    path.write_text(path.read_text().replace("stages:", more))
    found = project.examine()["last run"]
    assert found.names[0] == "pool.window is 3 in all, 9 in a stage before it"
    assert "`dvc repro`" in found.found
    path.write_text("[")
    assert (
        project.examine()["last run"].remedy == "take it from git (`git checkout HEAD -- dvc.lock`)"
    )


def test_the_remedy_of_a_lock_with_a_merge_conflict_works(project: Project):
    def committed(window: int) -> None:
        project.set("pool", window=window)
        write_lock(project.folder, project.params())
        git("add", "dvc.lock")
        git("commit", "-qm", str(window))

    committed(3)
    git("checkout", "-qb", "other")
    committed(5)
    git("checkout", "-q", "-")
    committed(7)
    assert subprocess.run(["git", "merge", "other"], check=False, capture_output=True).returncode
    (command,) = re.findall("`git (.*)`", project.examine()["last run"].remedy)
    git(*command.split())
    assert project.examine()["last run"].state == "ok"


def test_a_store_that_cannot_be_written(project: Project, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert project.examine()["store"].state == "problem"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_the_command_ends_with_what_to_do(project: Project):
    project.params()
    good = run("--quick")
    assert good.exit_code == 0, good.output
    assert "Ready to run" in good.stdout
    bad = run("--quick", "--root", str(project.folder / "elsewhere"))
    assert bad.exit_code == 1
    listed = bad.stdout.split("To do:")[1].strip().splitlines()
    assert [line.split(":")[0].strip() for line in listed] == [
        "1. annotations train, annotations val",
        "2. videos",
    ]


def test_json_names_everything(project: Project):
    project.params()
    for path in project.videos.iterdir():
        path.unlink()
    ended = run("--quick", "--json")
    assert ended.exit_code == 1
    findings = {finding["about"]: finding for finding in json.loads(ended.stdout)}
    assert len(findings["videos"]["names"]) == 3


def test_wrong_parameters_end_with_2(project: Project):
    project.set("pool", window=4)
    with pytest.raises(ValueError, match="odd"):
        project.params()
    ended = run("--quick")
    assert ended.exit_code == 2
    assert "pool.window" in ended.stderr
