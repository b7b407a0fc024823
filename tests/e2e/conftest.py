"""A real project in a folder of its own: git, DVC, ffmpeg, a tiny model, small videos."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from hlclip.video.ffmpeg_process import ffmpeg_executable
from tests.models import save_model, tiny_config

ROOT = Path(__file__).parents[2]
CLIPS = {"train": [6, 4, 5], "val": [5, 6], "test": [4]}


@dataclass
class Project:
    root: Path
    data: Path
    """The data set, outside of the project."""

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """Run a command as a user would after activating the venv; returns all it prints."""
        home = self.root.parent / "home"
        home.mkdir(exist_ok=True)
        env = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        ended = subprocess.run(
            command,
            cwd=self.root,
            env=env,
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if check:
            assert ended.returncode == 0, f"{command} failed:\n{ended.stdout}"
        else:
            assert ended.returncode != 0, f"{command} should have failed:\n{ended.stdout}"
        return ended.stdout

    def stored(self, kind: str) -> dict[str, int]:
        """Files of the store -> when they were written."""
        folder = self.root / ".hlclip" / "store" / kind
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*.h5")}

    def outputs(self) -> dict[str, bytes]:
        files = [p for p in (self.root / "outputs").rglob("*") if p.is_file()]
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in [*files, self.root / "metrics.json"]
        }

    def change_params(self, **values: object) -> None:
        """Set `section__key=value` in params.yaml."""
        yaml = YAML()
        path = self.root / "params.yaml"
        params = yaml.load(path)
        for name, value in values.items():
            section, key = name.split("__")
            params[section][key] = value
        yaml.dump(params, path)

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "state")

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.root, folder, symlinks=True)
        return Project(folder, self.data)


def stages_run(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def add_video(data: Path, split: str, vid: str, clips: int, qid: int) -> None:
    """Draw a video with ffmpeg's own source and annotate it."""
    (data / "videos").mkdir(parents=True, exist_ok=True)
    (data / "annotations").mkdir(exist_ok=True)
    source = f"testsrc2=size=96x72:rate=5:duration={2 * clips},hue=h={40 * qid}"
    subprocess.run(
        [
            ffmpeg_executable(),
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            source,
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            str(data / "videos" / f"{vid}.mp4"),
        ],
        check=True,
    )
    row = {
        "qid": qid,
        "query": f"test pattern number {qid}",
        "vid": vid,
        "duration": 2 * clips,
        "relevant_clip_ids": [1, 2],
        "saliency_scores": [[2, 3, 4], [4, 4, 3]],
        "relevant_windows": [[2, 6]],
    }
    with (data / "annotations" / f"{split}.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The pipeline with a small data set and a tiny model, committed, nothing run."""
    root, data = _made_once(tmp_path_factory, "blank", lambda: _drawn(tmp_path_factory))
    return Project(Path(root), Path(data))


def _drawn(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("e2e") / "project"
    data = root.parent / "data set"
    root.mkdir()
    for name in ("hlclip", "stages"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, root / name)
    (root / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, root / ".dvc" / name)
    qid = 0
    for split, lengths in CLIPS.items():
        for clips in lengths:
            add_video(data, split, f"{split}_{qid}_0.0_{2 * clips}.0", clips, qid)
            qid += 1
    project = Project(root, data)
    project.change_params(
        data__root=str(data),
        frames__size=32,
        train__epochs=2,
        encoder__model=save_model(root.parent / "model", tiny_config()),
    )
    project.run("git", "init", "-q")
    project.commit()
    return [str(project.root), str(project.data)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Project:
    """After one `dvc repro`; copied by the tests that change something."""

    def make() -> list[str]:
        blank: Project = request.getfixturevalue("blank")
        project = blank.copy(tmp_path_factory.mktemp("finished") / "project")
        project.run("dvc", "repro")
        project.commit()
        return [str(project.root), str(project.data)]

    root, data = _made_once(tmp_path_factory, "finished", make)
    return Project(Path(root), Path(data))


@pytest.fixture(scope="session")
def whole(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Project, dict[str, float]]:
    """After each stage was run by itself, in order, and the seconds that each took."""
    from tests.e2e.killing import finish  # noqa: PLC0415 (knows Project)
    from tests.e2e.wholeness import OUTPUTS  # noqa: PLC0415 (knows Project)

    def make() -> tuple[str, str, dict[str, float]]:
        blank: Project = request.getfixturevalue("blank")
        project = blank.copy(tmp_path_factory.mktemp("whole") / "project")
        seconds = {stage: finish(project, stage) for stage in OUTPUTS}
        return str(project.root), str(project.data), seconds

    root, data, seconds = _made_once(tmp_path_factory, "whole", make)
    return Project(Path(root), Path(data)), seconds


def _made_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, as JSON: all processes of pytest-xdist share what the first one made."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    place = shared / f"{name}.json"
    with FileLock(shared / f"{name}.lock"):
        if not place.exists():
            place.write_text(json.dumps(make()))
    return json.loads(place.read_text())
