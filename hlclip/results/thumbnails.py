"""Small pictures of the peaks of a query and of its favourite clip, as JPEG data URLs."""

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
    """Pictures by split and query, and the number of queries without pictures."""

    pictures: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    """split -> number of the query -> clip -> data URL."""
    chosen: int = 0
    """Queries that were chosen to have pictures."""
    without: int = 0
    """Chosen queries whose frames are not in the store."""


def make_thumbnails(run: Run, *, store: Path, queries: int) -> Thumbnails:
    """Make pictures of the peaks and of the annotators' favourite clip.

    Args:
        store: root of the store; queries whose frames were deleted are counted and get no pictures.
        queries: number of queries with pictures, at most: the first ones in each order of the page.
    """
    ranks = sorted(
        (rank, split, query)
        for split, part in run.splits.items()
        for query, rank in enumerate(shown_first(orders(run, part), len(part.scores.rows)).tolist())
    )
    frames = Store(store, "frames", run.frames.header)
    made = Thumbnails()
    for _, split, query in tqdm(ranks[:queries], desc="thumbnails", unit="query", disable=None):
        part = run.splits[split]
        item = run.frames.items.get(part.scores.rows[query].vid)
        if item is None:
            continue
        made.chosen += 1
        try:
            pictures = frames.read(item)
        except StoreError as error:
            if not made.without:
                log.warning("no thumbnail: %s", error)
            made.without += 1
            continue
        clips = query_peaks(run, part, query)
        if part.precision:
            row = part.scores.rows[query]
            best = favourite(row.ratings() - row.rating_scale[0])
            clips += [best] if best is not None else []
        made.pictures.setdefault(split, {})[str(query)] = {
            str(clip): _jpeg(pictures[clip]) for clip in clips if clip < len(pictures)
        }
    return made


def _jpeg(frame: NDArray[np.uint8]) -> str:
    """Data URL of a frame: uint8 [height, width, RGB], 0..255."""
    picture = Image.fromarray(frame)
    picture.thumbnail((SIDE, SIDE))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
