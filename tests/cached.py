"""A small cached data set: real store, real trunk, random frames and ratings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlclip.formats.annotations import Annotation
from hlclip.formats.manifests import Index, Item, Manifest, Video, VideoInfo
from hlclip.params import EncoderParams
from hlclip.pipeline.activations import make_activations
from hlclip.store.store import Store, content_key

FRAMES_HEADER = {
    "clip_seconds": 2.0,
    "size": 32,
    "resize": "shortest",
    "interpolation": "bicubic",
}


@dataclass
class CachedData:
    index: Index
    frames: dict[str, NDArray[np.uint8]]
    """vid -> [frames, height, width, RGB]"""
    images: Manifest
    texts: Manifest
    params: EncoderParams
    store: Path


def cached_data(root: Path, model: str, *, dtype: str = "float32", seed: int = 0) -> CachedData:
    """Three splits; among the videos of train one is shared, one short, one long, one missing."""
    random = np.random.default_rng(seed)
    clips = {"a": 5, "b": 9, "c": 7, "d": 4, "v": 8, "w": 6, "t": 7}
    decoded = {**clips, "b": 6, "c": 11}
    frames = {
        vid: random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        for vid, count in decoded.items()
    }
    rows = {"train": ["a", "a", "b", "c", "d", "gone"], "val": ["v", "w"], "test": ["t"]}
    queries = {split: [] for split in rows}
    for split, vids in rows.items():
        for vid in vids:
            qid = sum(map(len, queries.values()))
            queries[split].append(_row(qid, vid, clips.get(vid, 5), random))
    videos = {vid: Video(f"{vid}.mp4", vid, VideoInfo(1.0, 1, 1, "h264")) for vid in frames}
    index = Index(2.0, queries, videos, {"gone": "no file"})

    store = Store(root, "frames", FRAMES_HEADER)
    items: dict[str, Item] = {}
    for vid, pictures in frames.items():
        items[vid] = store.get_or_make(content_key(FRAMES_HEADER, vid), lambda p=pictures: p)
    params = EncoderParams.model_validate(
        {"model": model, "pretrained": None, "cached_blocks": 2, "dtype": dtype, "batch": 4}
    )
    manifest = Manifest(FRAMES_HEADER, items, index.missing)
    images, texts = make_activations(index, manifest, params, store=root)
    return CachedData(index, frames, images, texts, params, root)


def _row(qid: int, vid: str, clips: int, random: np.random.Generator) -> Annotation:
    relevant = sorted(random.choice(clips, size=clips // 2, replace=False).tolist())
    words = random.choice(["dog", "runs", "red", "beach", "talks", "car"], size=1 + qid)
    return Annotation.model_validate(
        {
            "qid": qid,
            "vid": vid,
            "query": " ".join(words),
            "duration": 2 * clips,
            "relevant_clip_ids": relevant,
            "saliency_scores": random.integers(0, 5, (len(relevant), 3)).tolist(),
        }
    )
