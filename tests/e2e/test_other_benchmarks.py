"""Other data sets from their published files to figures, each through the whole pipeline."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hlclip.cli import app
from hlclip.formats import read_index
from hlclip.params import load_params
from hlclip.video.ffmpeg_process import ffmpeg_executable
from tests.e2e.conftest import ROOT, Project

pytestmark = pytest.mark.slow

DOMAINS = ("BK", "VT")


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def draw(data: Path, vid: str, seconds: float) -> None:
    (data / "videos").mkdir(parents=True, exist_ok=True)
    source = f"testsrc2=size=96x72:rate=10:duration={seconds},hue=h={40 * len(vid)}"
    output = ["-c:v", "libx264", "-preset", "ultrafast", str(data / "videos" / f"{vid}.mp4")]
    command = [ffmpeg_executable(), "-v", "error", "-f", "lavfi", "-i", source, *output]
    subprocess.run(command, check=True)


def tvsum(published: Path) -> None:
    for split, count in (("train", 2), ("val", 1)):
        rows = []
        for domain in DOMAINS:
            for number in range(count):
                vid = f"{domain}{split}{number}"
                label = [[1 + (shot + who) % 5 for who in range(4)] for shot in range(7)]
                rows.append({"qid": vid, "query": f"How to {vid}", "vid": vid, "domain": domain})
                rows[-1] |= {"duration": 7, "label": label}
                draw(published.parent, vid, 14)
        write(published / f"tvsum_{split}_release.jsonl", rows)


def youtube(published: Path) -> None:
    for split in ("train", "val"):
        rows = []
        for domain in ("dog", "skiing"):
            vid = f"{domain}{split}"
            # 10 frames a second; clips of 20 frames overlap by half.
            clips = [[10 * n, 10 * n + 20] for n in range(9)]
            match = [(n % 3) - 1 for n in range(9)]
            rows.append({"qid": vid, "query": domain, "vid": vid, "domain": domain, "fps": 10.0})
            rows[-1] |= {"duration": 10.0, "clip": clips, "match": match}
            draw(published.parent, vid, 10)
        write(published / f"youtube_highlight_{split}_release.jsonl", rows)


def charades(published: Path) -> None:
    for split in ("train", "test"):
        rows = []
        for number in range(2):
            row = {"qid": f"{split}{number}", "query": f"he opens door {number}", "vid": split}
            rows.append(row | {"duration": 8.7, "relevant_windows": [[number, number + 3.3]]})
        draw(published.parent, split, 8.7)
        write(published / f"charades_{split}_release.jsonl", rows)


def prepared(blank: Project, folder: Path, name: str, draw_set: Any) -> Project:
    """A project with the preset of a data set, whose published files were converted."""
    project = blank.copy(folder / "project")
    data = folder / name
    draw_set(data / "published")
    # Within this process: no start of Python is of interest.
    convert = ["data", name, str(data)]
    statuses = [
        CliRunner().invoke(app, [*convert, *check]).exit_code
        for check in (["--check"], [], ["--check"])
    ]
    assert statuses == [1, 0, 0]
    encoder = load_params(project.root / "params.yaml").encoder
    shutil.copy(ROOT / "presets" / f"{name}.yaml", project.root / "params.yaml")
    project.change_params(
        data__root=str(data),
        frames__size=32,
        encoder__model=encoder.model,
        encoder__pretrained=None,
        train__epochs=1,
        train__micro_batch=0,
    )
    project.commit()
    return project


def test_tvsum_leaves_one_domain_out(blank: Project, tmp_path: Path) -> None:
    project = prepared(blank, tmp_path, "tvsum", tvsum)
    folder = "annotations/leave-one-out/VT"
    changes = [f"+data.annotations.{s}={folder}/{s}.jsonl" for s in ("train", "val")]
    changes += [f"data.annotations.test={folder}/test.jsonl", "train.blocks=2"]
    project.run("dvc", "exp", "run", *(f"-S{change}" for change in changes))
    metrics = json.loads((project.root / "outputs/figures.json").read_text())
    index = read_index(project.root / "outputs/index.json")
    assert {row.domain for row in index.queries["test"]} == {"VT"}
    assert {row.domain for row in index.queries["train"]} == {"BK"}
    assert {"zero-shot", "HL-CLIP-2", "HL-CLIP-2 (SP)"} <= set(metrics["test"])
    assert "VeryGood" not in json.dumps(metrics)
    # Shots of two seconds: the keys are those of any other video.
    assert index.clips_apart() == {}
    assert index.clips() == dict.fromkeys(index.videos, 7)


def test_youtube_highlights_zero_shot(blank: Project, tmp_path: Path) -> None:
    project = prepared(blank, tmp_path, "youtube-highlights", youtube)
    project.run("dvc", "exp", "run")
    index = read_index(project.root / "outputs/index.json")
    assert index.clips() == dict.fromkeys(index.videos, 9)
    frames = json.loads((project.root / "outputs/frames.json").read_text())["frames"]["items"]
    assert {item["length"] for item in frames.values()} == {9}
    metrics = json.loads((project.root / "outputs/figures.json").read_text())
    assert {"zero-shot", "zero-shot (SP)"} <= set(metrics["test"])
    lines = (project.root / "outputs/predictions/test-zero-shot.jsonl").read_text().splitlines()
    assert {len(json.loads(line)["pred_saliency_scores"]) for line in lines} == {9}


def test_charades_trains_on_windows(blank: Project, tmp_path: Path) -> None:
    project = prepared(blank, tmp_path, "charades-sta", charades)
    project.run("dvc", "exp", "run")
    metrics = json.loads((project.root / "outputs/figures.json").read_text())
    index = read_index(project.root / "outputs/index.json")
    assert index.clips() == {"test": 8, "train": 8}
    assert "HL-CLIP-2 (SP)" in metrics["test"]
    assert "R1@0.5" in json.dumps(metrics["test"]["HL-CLIP-2"])
