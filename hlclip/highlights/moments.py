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
    """Saliency of every clip of one video for one query.

    Scores rank the clips of one curve; they do not compare between queries.

    >>> import numpy as np
    >>> saliency = np.array([0.1, 0.1, 0.3, 0.2, 0.1], np.float32)
    >>> curve = Curve(Path("holiday.mp4"), "a dog", saliency, duration=9.5, clip_seconds=2.0)
    >>> curve.end_seconds(4)
    9.5
    >>> [(m.start_seconds, m.end_seconds) for m in best_moments(curve, top=1, window=1)]
    [(4.0, 8.0)]
    """

    video: Path
    query: str
    saliency: NDArray[np.float32]
    """[clips], cosine of the middle frame of each clip with the query, -1..1, not pooled."""
    duration: float
    """Seconds; the last clip may end after it, or up to half a clip before it."""
    clip_seconds: float

    def end_seconds(self, clip: int) -> float:
        """End of a clip in seconds, at most the end of the video."""
        return min((clip + 1) * self.clip_seconds, self.duration)


@dataclass(frozen=True)
class Moment:
    """Successive clips with a high saliency."""

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

    The highest clip of the pooled curve that is still free is the peak of a moment. The moment
    grows to both sides while clips are at least half as far above the median of the curve as the
    peak is. Then it grows towards the better neighbour until it lasts `min_seconds`. The clips next
    to it whose scores only fall belong to the same hill, and none of them is another peak. Peaks
    below the median are no moments.

    Args:
        window: pooling window in clips, odd; 1 is no pooling.
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
    free = np.ones(len(scores), dtype=bool)  # [clips], in no moment
    candidate = free.copy()  # [clips], may be a peak
    rising = np.append(scores[:-1] <= scores[1:], False)  # [clips], not above the next clip
    falling = np.append(False, scores[1:] <= scores[:-1])  # [clips], not above the clip before
    moments: list[Moment] = []
    while len(moments) < top and candidate.any():
        peak = int(np.where(candidate, scores, -np.inf).argmax())
        if scores[peak] < median:
            break
        high = free & (scores >= (float(scores[peak]) + median) / 2)
        clips = _extend(range(peak, peak + 1), high, high)
        clips = _lengthen(clips, np.where(free, scores, -np.inf), curve, min_seconds)
        if _seconds(curve, clips) < min(min_seconds, curve.end_seconds(len(scores) - 1)):
            candidate[clips.start : clips.stop] = False  # too little room between other moments
            continue
        free[clips.start : clips.stop] = False
        hill = _extend(clips, rising, falling)
        candidate[hill.start : hill.stop] = False
        start, end = clips.start * curve.clip_seconds, curve.end_seconds(clips.stop - 1)
        moments.append(Moment(start, end, float(scores[peak]), clips))
    return moments


def clock(seconds: float) -> str:
    """A time in hours, minutes and seconds: `0:07`, `1:02:03`, `0:05.3`."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    fraction = f".{rest % 10}" if rest % 10 else ""
    return f"{head}:{rest // 10:02}{fraction}"


def _extend(clips: range, left: NDArray[np.bool_], right: NDArray[np.bool_]) -> range:
    """Extend a range to each side as far as the mask of that side [clips] is true."""
    first, stop = clips.start, clips.stop
    while first > 0 and left[first - 1]:
        first -= 1
    while stop < len(right) and right[stop]:
        stop += 1
    return range(first, stop)


def _lengthen(
    clips: range, scores: NDArray[np.floating], curve: Curve, min_seconds: float
) -> range:
    """Extend a range by its better neighbour until it lasts `min_seconds`; -inf is a used clip."""
    padded = np.pad(scores, 1, constant_values=-np.inf)  # [clips + 2]
    first, stop = clips.start, clips.stop
    while _seconds(curve, range(first, stop)) < min_seconds:
        before, after = padded[first], padded[stop + 1]
        if before == after == -np.inf:
            break
        if before > after:
            first -= 1
        else:
            stop += 1
    return range(first, stop)


def _seconds(curve: Curve, clips: range) -> float:
    return curve.end_seconds(clips.stop - 1) - clips.start * curve.clip_seconds
