"""Moments from saliency: ranked windows of one query, from the scores of its clips alone.

`consensus` is the default rule: on the two public submissions that docs/log.md names it has the
best mAP of all rules.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.evaluation.moment_rules import CANDIDATES, Rule, apart, consensus, iou, peaks, scaled
from hlclip.system import HlclipError

Window = tuple[float, float, float]
"""Start in seconds, end in seconds, confidence: an entry of `pred_relevant_windows`."""

FOCUS = 2.0
"""The default `focus` of `consensus`."""

OVERLAPS: dict[Rule, float] = {
    "consensus": 0.9,
    "histogram": 0.95,
    "thresholds": 0.7,
    "threshold": 0.7,
    "contrast": 0.5,
    "peaks": 0.0,
}
"""Rule -> highest IoU of two of its windows."""


def find_moments(
    saliency: ArrayLike,
    *,
    rule: Rule = "consensus",
    top: int = 10,
    overlap: float | None = None,
    focus: float = FOCUS,
    clip_seconds: float = 2.0,
    duration: float = np.inf,
) -> list[Window]:
    """Windows of one query, best first, as a submission file has them.

    Args:
        saliency: [clips], any range; only differences count, so scores may be negative.
        rule: a key of `OVERLAPS`.
        top: most windows, at least 1; the official mAP counts ten.
        overlap: highest IoU of two windows of the result, 0..1; None is the rule's own.
        focus: of `consensus`: 0 trusts all levels of the curve alike, 8 only those near its top,
            which gives shorter windows.
        clip_seconds: length of a clip.
        duration: seconds of the video; no window ends after it.

    Returns:
        At least one window. The confidence never increases along the list; it compares windows of
        one query only. A flat curve has one window, the whole video.

    Raises:
        HlclipError: no clips, a score that is not finite, `top` below 1, or another rule or
            duration.

    >>> find_moments([0.1, 0.1, 0.9, 0.8, 0.1, 0.1])[0][:2]
    (4.0, 8.0)
    """
    found = find_clips(
        saliency,
        rule=rule,
        top=top,
        overlap=overlap,
        focus=focus,
        clip_seconds=clip_seconds,
        duration=duration,
    )
    return [
        (
            float(clips.start * clip_seconds),
            float(min(clips.stop * clip_seconds, duration)),
            round(confidence, 6),
        )
        for clips, confidence in found
    ]


def find_clips(
    saliency: ArrayLike,
    *,
    rule: Rule = "consensus",
    top: int = 10,
    overlap: float | None = None,
    focus: float = FOCUS,
    clip_seconds: float = 2.0,
    duration: float = np.inf,
    min_seconds: float = 0.0,
) -> list[tuple[range, float]]:
    """The moments of `find_moments` as ranges of clips, with their confidence.

    Args:
        saliency, rule, top, overlap, focus, clip_seconds, duration: as in `find_moments`.
        min_seconds: shortest moment. A shorter one grows towards its better neighbour; it is left
            out where the moments before it leave no room. A video that is shorter is one moment.
    """
    scores = np.asarray(saliency, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise HlclipError(f"saliency has shape {scores.shape}, expected [clips], at least one")
    if not np.isfinite(scores).all():
        clip = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise HlclipError(f"saliency of clip {clip} is {scores[clip]}, expected a finite number")
    if rule not in OVERLAPS:
        raise HlclipError(f"rule is {rule!r}, expected {', '.join(OVERLAPS)}")
    if top < 1:
        raise HlclipError(f"top is {top}, expected at least 1")
    if not duration > 0:
        raise HlclipError(f"duration is {duration}, expected a positive number of seconds")
    starts = np.arange(len(scores)) * clip_seconds  # [clips]
    ends = np.minimum(starts + clip_seconds, duration)
    scores = scores[starts < duration]
    if scores.min() == scores.max():
        return [(range(len(scores)), 1.0)]
    with np.errstate(over="ignore"):
        finite = np.isfinite(scores.max() - scores.min())
    scores = scaled(scores if finite else scores / 2)
    overlap = OVERLAPS[rule] if overlap is None else overlap
    taken = np.zeros(len(scores), dtype=bool)
    if rule == "consensus":
        found = consensus(scores, overlap, focus)
    elif rule == "peaks":
        found = peaks(scores, taken)
    else:
        found = apart(*CANDIDATES[rule](scores), overlap)
    if min_seconds > 0 or rule == "peaks":
        found = _grown(found, scores, taken, overlap, starts, ends, min_seconds)
    return [(range(*run), confidence) for run, confidence in itertools.islice(found, top)]


def _grown(
    found: Iterator[tuple[tuple[int, int], float]],
    scores: NDArray[np.float64],
    taken: NDArray[np.bool_],
    overlap: float,
    starts: NDArray[np.floating[Any]],
    ends: NDArray[np.floating[Any]],
    min_seconds: float,
) -> Iterator[tuple[tuple[int, int], float]]:
    """Lengthen runs to `min_seconds`; leave out those without room, or too near to one before.

    Args:
        taken: [clips], changed: clips of earlier runs where no two may overlap.
        starts, ends: [clips], seconds.
    """
    enough = min(min_seconds, ends[len(scores) - 1])
    before: list[tuple[int, int]] = []
    for run, confidence in found:
        first, stop = run
        open_clips = np.pad(np.where(taken, -np.inf, scores), 1, constant_values=-np.inf)
        while ends[stop - 1] - starts[first] < enough:
            left, right = open_clips[first], open_clips[stop + 1]
            if left == right == -np.inf:
                break
            first, stop = (first - 1, stop) if left > right else (first, stop + 1)
        near = before and iou(np.array([[first, stop]]), np.array(before)).max() > overlap
        if near or ends[stop - 1] - starts[first] < enough:
            continue
        before.append((first, stop))
        taken[first:stop] |= overlap == 0
        yield (first, stop), confidence
