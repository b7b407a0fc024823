"""Small pictures of the clips that matter, as JPEG data addresses."""

import base64
import io
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from hlclip.results.page_queries import favourite, orders, query_peaks, shown_first
from hlclip.results.run import Run
from hlclip.store import Store, StoreError

log = logging.getLogger(__name__)

SIDE = 112
"""Longest side of a thumbnail in pixels; smaller frames stay as they are."""


@dataclass
class Thumbnails:
    """Pictures by split and query, and what could not be had."""

    pictures: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """split -> number of the query -> clip -> data address."""
    wanted: int = 0
    """Queries that were to have pictures."""
    without: int = 0
    """Of those, the ones whose frames are not in the store."""


def make_thumbnails(run: Run, *, store: Path, queries: int) -> Thumbnails:
    """Pictures at the peaks and at the annotators' favourite clip.

    Args:
        store: root of the store; frames that were deleted there are counted and left out.
        queries: at most so many get pictures: those that any order of the page shows first.
    """
    frames = Store(store, "frames", run.frames.header)
    made = Thumbnails()
    chosen = _chosen(run, queries)
    for split, query in tqdm(chosen, desc="thumbnails", unit="query", disable=None):
        part = run.splits[split]
        item = run.frames.items.get(part.scores.rows[query].vid)
        if item is None:
            continue
        made.wanted += 1
        try:
            pictures = frames.read(item)
        except StoreError as error:
            if not made.without:
                log.warning("no thumbnail: %s", error)
            made.without += 1
            continue
        clips = query_peaks(run, part, query)
        if part.precision:
            best = favourite(part.scores.rows[query].ratings())
            clips += [best] if best is not None else []
        made.pictures.setdefault(split, {})[str(query)] = {
            str(clip): _jpeg(pictures[clip]) for clip in clips if clip < len(pictures)
        }
    return made


def _chosen(run: Run, queries: int) -> list[tuple[str, int]]:
    places = [
        (int(place), split, query)
        for split, part in run.splits.items()
        for query, place in enumerate(
            shown_first(orders(run, part), len(part.scores.rows)).tolist()
        )
    ]
    return [(split, query) for _, split, query in sorted(places)[:queries]]


def _jpeg(frame: NDArray[np.uint8]) -> str:
    """Data address of an RGB frame [height, width, 3]."""
    picture = Image.fromarray(frame)
    picture.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
