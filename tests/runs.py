"""A finished run in a folder: random scores, real files of every stage that the report reads."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from hlclip.formats.annotations import Annotation
from hlclip.formats.manifests import (
    Index,
    Item,
    Manifest,
    Video,
    VideoInfo,
    write_index,
    write_manifests,
)
from hlclip.formats.scores import Origin, pack, write_scores
from hlclip.model import save_tail
from hlclip.params import Params, load_params
from hlclip.pipeline.evaluate import evaluate_splits
from hlclip.store.store import Store, content_key
from hlclip.training.fit import write_history

HEADER = {"clip_seconds": 2.0, "interpolation": "bicubic", "resize": "shortest", "size": 64}
ORIGIN = Origin("0" * 64, "none", 2.0)
PARAMS = Path(__file__).parent.parent / "params.yaml"
OUTPUTS = (
    "metrics.json",
    "outputs/figures.json",
    "outputs/index.json",
    "outputs/frames.json",
    "outputs/train.csv",
    "outputs/train.safetensors",
    "outputs/score.safetensors",
    "outputs/predictions",
    "outputs/window.csv",
    "outputs/moments.csv",
    "outputs/saliency.csv",
    "outputs/calibration.json",
    "outputs/reliability.csv",
)
GONE = "gone <b>video</b>"
"""The one video of val that is missing."""


@dataclass(frozen=True)
class FinishedRun:
    folder: Path
    store: Path


def finished_run(
    folder: Path,
    *,
    queries: int = 30,
    clips: int = 12,
    frame: int | None = 64,
    blocks: int = 2,
    blind: bool = False,
    text: str = "A boat",
    dataset: str = "qvhighlights",
) -> FinishedRun:
    """Write a run: val and test of so many queries, the last of val without video.

    Args:
        frame: height and width of the frames in pixels; None: they were deleted from the store.
        blocks: 0 is zero-shot.
        blind: test has no ground truth.
        text: begins the query of each row.
        dataset: of the rows; val and test of another have the metrics of that data set.
    """
    random = np.random.default_rng(0)
    outputs, store = folder / "outputs", folder / "store"
    params = load_params(PARAMS)
    made_by = params.train.model_copy(update={"blocks": blocks})
    before, after = f"blocks: {params.train.blocks} ", f"blocks: {blocks} "
    (folder / "params.yaml").write_text(PARAMS.read_text().replace(before, after))
    rows = {
        split: [
            _row(split, number, clips, random, text=text, blind=blind and split == "test")
            if dataset == "qvhighlights"
            else other_row(dataset, number, clips, random)
            for number in range(queries)
        ]
        for split in ("val", "test")
    }
    last = rows["val"][-1]
    rows["val"][-1] = last.model_copy(update={"vid": GONE})
    names = ["zero-shot"] + ([f"HL-CLIP-{blocks}"] if blocks else [])
    splits = {
        split: pack(
            each,
            {
                name: {row.qid: _cosines(row, random) for row in each if row.vid != GONE}
                for name in names
            },
        )
        for split, each in rows.items()
    }
    write_scores(outputs / "score.safetensors", splits)
    evaluate_splits(
        splits,
        params.pool,
        params.moments,
        metrics=folder / "metrics.json",
        outputs=outputs,
        origin=ORIGIN,
    )
    facts = {"weights": "none", "train": made_by.facts()}
    epochs = [
        {"epoch": n, "loss": 0.2 / n, "lr": 0.001, "val_mAP": 40.0 + n % 3, "val_HIT@1": 60.0 - n}
        for n in range(1, 5)
    ]
    save_tail(outputs / "train.safetensors", {}, facts | ({"chosen": epochs[1]} if blocks else {}))
    write_history(outputs / "train.csv", epochs if blocks else [])

    videos = [row.vid for each in rows.values() for row in each if row.vid != GONE]
    items = {vid: Item(content_key(HEADER, vid), "0" * 32, clips) for vid in videos}
    if frame is not None:
        frames = Store(store, "frames", HEADER)
        for vid, item in items.items():
            items[vid] = frames.get_or_make(item.key, _film(clips, frame, random))
    found = {
        vid: Video(f"{vid}.mp4", vid, VideoInfo(2.0 * clips, 64, 64, "h264")) for vid in videos
    }
    write_index(outputs / "index.json", Index(2.0, dict(rows), found, {GONE: "no <file>"}))
    write_manifests(
        outputs / "frames.json", frames=Manifest(dict(HEADER), items, {GONE: "no <file>"})
    )
    write_lock(folder, params.model_copy(update={"train": made_by}))
    return FinishedRun(folder, store)


def write_lock(folder: Path, params: Params) -> None:
    """dvc.lock as DVC writes it after a run with these parameters made the files in `folder`."""
    outs = [
        {"path": name, "md5": _md5(folder / name)} for name in OUTPUTS if (folder / name).exists()
    ]
    stage = {"cmd": "all", "params": {"params.yaml": params.model_dump()}, "outs": outs}
    with (folder / "dvc.lock").open("w") as file:
        YAML(typ="safe").dump({"schema": "2.0", "stages": {"all": stage}}, file)


def _md5(path: Path) -> str:
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = [{"md5": _md5(file), "relpath": file.name} for file in sorted(path.iterdir())]
    return hashlib.md5(json.dumps(files).encode()).hexdigest() + ".dir"


def _row(
    split: str, number: int, clips: int, random: np.random.Generator, *, text: str, blind: bool
) -> Annotation:
    facts = {
        "qid": number if split == "val" else f"t{number}",
        "query": f"{text} number {number}",
        "vid": f"{split}_{number:04}",
        "duration": 2 * clips,
    }
    start = int(random.integers(0, clips - 3))
    ratings = random.integers(1, 4, (3, 3))
    if number > 0:  # the first query of a split has no very good clip
        ratings[random.integers(3)] = 4
    truth = {
        "relevant_clip_ids": [start, start + 1, start + 2],
        "saliency_scores": ratings.tolist(),
        "relevant_windows": [[2 * start, 2 * start + 6]],
    }
    return Annotation.model_validate(facts if blind else facts | truth)


def other_row(dataset: str, number: int, clips: int, random: np.random.Generator) -> Annotation:
    """TVSum: 20 annotators; YouTube Highlights: overlapping clips; others: one moment."""
    facts = {
        "qid": number,
        "query": f"A title number {number}",
        "vid": f"v_{number:04}",
        "dataset": dataset,
        "duration": 2 * clips,
    }
    rated = facts | {"relevant_clip_ids": list(range(clips)), "protocol": "zero-shot"}
    if dataset == "tvsum":
        rated |= {"rating_scale": [1, 5], "domain": ("BK", "BT")[number % 2]}
        rated["saliency_scores"] = random.integers(1, 6, (clips, 20)).tolist()
    elif dataset == "youtube-highlights":
        rated |= {"rating_scale": [-1, 1], "domain": ("dog", "surfing")[number % 2]}
        rated["clips"] = [[1.5 * clip, 1.5 * clip + 3] for clip in range(clips)]
        rated["saliency_scores"] = random.integers(-1, 2, (clips, 1)).tolist()
    else:
        start = float(random.integers(0, clips))
        rated = facts | {"relevant_windows": [[start, start + clips / 2]]}
    return Annotation.model_validate(rated)


def _cosines(row: Annotation, random: np.random.Generator) -> NDArray[np.float32]:
    noise = random.normal(0, 0.15, row.clips)
    truth = 0.0 if row.saliency_scores is None else row.ratings().mean(axis=1) / row.rating_scale[1]
    return np.clip(noise + 0.5 * truth, -1, 1).astype(np.float32)


def _film(clips: int, side: int, random: np.random.Generator) -> Callable[[], NDArray[np.uint8]]:
    """Smooth pictures, as compressible as real ones."""

    def make() -> NDArray[np.uint8]:
        coarse = random.integers(0, 256, (clips, 8, 8, 3), dtype=np.uint8)
        return coarse.repeat(side // 8, axis=1).repeat(side // 8, axis=2)

    return make
