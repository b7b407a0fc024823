"""What each stage costs with 10, 100 and 1,000 videos: seconds and peak memory.

The stages run as they are, on copies of one small video and a small CLIP with random
weights, so that only the growth means anything, not the seconds.

    python -m bench.growth COUNT FOLDER
"""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from bench.training import ROOT
from hlclip.formats import (
    Annotation,
    Index,
    Origin,
    Video,
    VideoInfo,
    read_index,
    read_manifests,
    write_index,
    write_manifests,
)
from hlclip.params import load_params
from hlclip.pipeline.activations import make_activations
from hlclip.pipeline.evaluate import evaluate_splits
from hlclip.pipeline.frames import make_frames
from hlclip.pipeline.score import score_splits
from hlclip.pipeline.train import train_tail
from hlclip.video import ffmpeg_executable

COUNTS = (10, 100, 1000)
CLIPS = 6


def measure_growth(folder: Path) -> list[dict[str, Any]]:
    """Rows of count, stage, seconds, peak RSS in MB; each count in a process of its own."""
    rows: list[dict[str, Any]] = []
    for count in COUNTS:
        command = [sys.executable, "-m", "bench.growth", str(count), str(folder / str(count))]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        rows += json.loads(done.stdout)
    return rows


def draw_growth(rows: list[dict[str, Any]], path: Path) -> None:
    """Seconds over the number of videos, both axes logarithmic: a straight line at 45 degrees is
    linear growth."""
    alt.Chart(alt.Data(values=rows)).mark_line(point=True).encode(
        x=alt.X("videos:Q", scale=alt.Scale(type="log"), axis=alt.Axis(values=list(COUNTS))),
        y=alt.Y("seconds:Q", scale=alt.Scale(type="log")),
        color=alt.Color("stage:N", sort=None),
    ).properties(width=480, height=300, background="white").save(path)


def main(count: int, folder: Path) -> list[dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    params = load_params(ROOT / "params.yaml")
    film, store, outputs = folder / "film.mp4", folder / "store", folder / "outputs"
    source = f"testsrc2=s=128x96:r=10:d={2 * CLIPS}"
    command = [ffmpeg_executable(), "-y", "-nostdin", "-loglevel", "error", "-f", "lavfi"]
    subprocess.run([*command, "-i", source, str(film)], check=True)
    random = np.random.default_rng(0)
    splits = {"train": count - 2 * (count // 5), "val": count // 5, "test": count // 5}
    rows = {s: [_row(f"{s}{n}", random) for n in range(size)] for s, size in splits.items()}
    info = VideoInfo(2.0 * CLIPS, 128, 96, "h264")
    content = film.read_bytes()
    videos = {}
    for vid in (row.vid for part in rows.values() for row in part):
        path = folder / f"{vid}.mp4"
        path.write_bytes(content + vid.encode())  # other content, which no decoder reads
        videos[vid] = Video(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), info)
    index = Index(2.0, dict(rows), videos, {})
    train = params.train.model_copy(update={"epochs": 1, "device": "cpu"})
    costs = []

    def timed(stage: str, run: Any) -> Any:
        before = time.perf_counter()
        result = run()
        peak = peak_bytes() / 1e6
        seconds = round(time.perf_counter() - before, 3)
        costs.append({"videos": count, "stage": stage, "seconds": seconds, "peak MB": round(peak)})
        return result

    def manifests() -> None:
        write_index(outputs / "index.json", index)
        write_manifests(outputs / "activations.json", images=images, texts=texts)
        read_index(outputs / "index.json")
        read_manifests(outputs / "activations.json", "images", "texts")

    frames = timed(
        "frames",
        lambda: make_frames(index, params.frames, data_root=folder, store=store, max_missing=0),
    )
    images, texts = timed(
        "activations", lambda: make_activations(index, frames, params.encoder, store=store)
    )
    timed("index and manifests", manifests)
    checkpoint = outputs / "train.safetensors"
    timed(
        "train",
        lambda: train_tail(
            index,
            images,
            texts,
            params.encoder,
            train,
            store=store,
            checkpoint=checkpoint,
            history=outputs / "train.csv",
        ),
    )
    scores = timed(
        "score",
        lambda: score_splits(
            index,
            images,
            texts,
            params.encoder,
            train,
            ["val", "test"],
            store=store,
            checkpoint=checkpoint,
        ),
    )
    timed(
        "evaluate",
        lambda: evaluate_splits(
            scores,
            params.pool,
            params.moments,
            metrics=outputs / "metrics.json",
            outputs=outputs,
            origin=Origin("", "", 2.0),
        ),
    )
    return costs


def peak_bytes() -> int:
    """Peak RSS of this process since it began; `ru_maxrss` would count its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _row(vid: str, random: np.random.Generator) -> Annotation:
    facts = {"qid": vid, "vid": vid, "query": f"query {len(vid)}", "duration": 2 * CLIPS}
    ratings = random.integers(0, 5, (2, 3)).tolist()
    return Annotation.model_validate(
        {**facts, "relevant_clip_ids": [1, 2], "saliency_scores": ratings}
    )


if __name__ == "__main__":
    json.dump(main(int(sys.argv[1]), Path(sys.argv[2])), sys.stdout)
