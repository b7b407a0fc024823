"""The best moments of a video: ranges of seconds around the peaks of its saliency."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import pool
from hlclip.system import HlclipError

WINDOW = 3
"""Pooling window in clips, as in the bundled `params.yaml`."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Saliency of one video for one query."""

    video: Path
    query: str
    saliency: NDArray[np.float32]
    """[clips], cosine of each clip's frame with the query, -1..1, not pooled."""
    duration: float
    """Seconds; the last clip may reach beyond, or end up to half a clip before."""
    clip_seconds: float

    def end_seconds(self, clip: int) -> float:
        """Where a clip ends: the last one at the end of the video."""
        return min((clip + 1) * self.clip_seconds, self.duration)


@dataclass(frozen=True)
class Moment:
    """A run of clips that stand out."""

    start_seconds: float
    end_seconds: float
    score: float
    """Pooled saliency of its best clip."""
    clips: range
    """Its clips, counted from 0."""


def best_moments(
    curve: Curve, *, top: int = 5, window: int = WINDOW, min_seconds: float = 4.0
) -> list[Moment]:
    """Up to `top` moments that do not overlap, best first.

    The pooled curve is read as hills. The highest clip left is the peak of a moment, which grows
    to both sides while clips are at least half as far above the curve's median as the peak is, and
    then, towards the better neighbour, until it lasts `min_seconds`. Its slopes, as far as they
    fall, belong to the same hill and start no other moment. Peaks below the median are no moments.

    Args:
        window: clips averaged around each clip, odd; 1 is no pooling.
        min_seconds: shortest moment; a video whose clips are shorter together is one moment.

    Raises:
        HlclipError: `top` is below 1, `window` even or below 1, or `min_seconds` not positive.
    """
    if top < 1:
        raise HlclipError(f"top is {top}, expected at least 1")
    if not 0 < min_seconds < math.inf:
        raise HlclipError(f"min_seconds is {min_seconds}, expected a positive number of seconds")
    scores = pool(curve.saliency, window)
    median = float(np.median(scores))
    free = np.ones(len(scores), dtype=bool)  # in no moment
    open_ = free.copy()  # may be a peak
    moments: list[Moment] = []
    while len(moments) < top and open_.any():
        peak = int(np.where(open_, scores, -np.inf).argmax())
        if scores[peak] < median:
            break
        clips = _grow(scores, free, peak, level=(float(scores[peak]) + median) / 2)
        clips = _lengthen(scores, free, clips, curve, min_seconds)
        if _seconds(curve, clips) < min(min_seconds, curve.end_seconds(len(scores) - 1)):
            open_[clips.start : clips.stop] = False  # no room between its neighbours
            continue
        free[clips.start : clips.stop] = False
        hill = _slopes(scores, clips)
        open_[hill.start : hill.stop] = False
        moments.append(
            Moment(
                clips.start * curve.clip_seconds,
                curve.end_seconds(clips.stop - 1),
                float(scores[peak]),
                clips,
            )
        )
    return moments


def clock(seconds: float) -> str:
    """Seconds as people write times: `0:07`, `1:02:03`, `0:05.3`."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    fraction = f".{rest % 10}" if rest % 10 else ""
    return f"{head}:{rest // 10:02}{fraction}"


def _grow(scores: NDArray[np.float32], free: NDArray[np.bool_], peak: int, level: float) -> range:
    good = free & (scores >= level)
    first, stop = peak, peak + 1
    while first > 0 and good[first - 1]:
        first -= 1
    while stop < len(scores) and good[stop]:
        stop += 1
    return range(first, stop)


def _lengthen(
    scores: NDArray[np.float32],
    free: NDArray[np.bool_],
    clips: range,
    curve: Curve,
    min_seconds: float,
) -> range:
    first, stop = clips.start, clips.stop
    while _seconds(curve, range(first, stop)) < min_seconds:
        before = scores[first - 1] if first > 0 and free[first - 1] else -np.inf
        after = scores[stop] if stop < len(scores) and free[stop] else -np.inf
        if before == after == -np.inf:
            break
        if before > after:
            first -= 1
        else:
            stop += 1
    return range(first, stop)


def _slopes(scores: NDArray[np.float32], clips: range) -> range:
    """The clips of a moment and those beside it whose scores only fall away from it."""
    first, stop = clips.start, clips.stop
    while first > 0 and scores[first - 1] <= scores[first]:
        first -= 1
    while stop < len(scores) and scores[stop] <= scores[stop - 1]:
        stop += 1
    return range(first, stop)


def _seconds(curve: Curve, clips: range) -> float:
    return curve.end_seconds(clips.stop - 1) - clips.start * curve.clip_seconds
