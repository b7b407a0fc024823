"""Moments from saliency: ranked windows of one query, from the scores of its clips alone.

`consensus` is the default rule: on the two public submissions that docs/log.md names it has the
best mAP of all rules.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlclip.evaluation.consensus import consensus
from hlclip.evaluation.moment_rules import CANDIDATES, Rule, apart, iou, peaks, scaled
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
        HlclipError: no clips, a score that is not finite, `top` below 1, or another rule, duration
            or `clip_seconds`.

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
    return [_window(clips, confidence, clip_seconds, duration) for clips, confidence in found]


def find_many(
    curves: Sequence[ArrayLike],
    *,
    rule: Rule = "consensus",
    focus: float = FOCUS,
    clip_seconds: float = 2.0,
    durations: Sequence[float],
) -> list[list[Window]]:
    """`find_moments` of many queries, exactly and faster.

    Args:
        curves: saliency of each query, [clips].
        rule, focus, clip_seconds: as in `find_moments`.
        durations: seconds of each video.
    """
    if rule != "consensus":
        return [
            find_moments(curve, rule=rule, clip_seconds=clip_seconds, duration=seconds)
            for curve, seconds in zip(curves, durations, strict=True)
        ]
    found: list[list[Window]] = [[] for _ in curves]
    by_clips: dict[int, list[tuple[int, NDArray[np.float64]]]] = {}
    for query, (curve, seconds) in enumerate(zip(curves, durations, strict=True)):
        scores = _checked(curve, clip_seconds, seconds)
        if scores is None:
            found[query] = find_moments(curve, clip_seconds=clip_seconds, duration=seconds)
        else:
            by_clips.setdefault(len(scores), []).append((query, scores))
    for clips, alike in by_clips.items():
        # Curves that rise and fall alike have about as many runs, so few are padded.
        alike.sort(key=lambda each: float(np.abs(np.diff(each[1])).sum()))
        together = max(1, 1200 // clips)  # curves whose runs fit into the processor's caches
        for begin in range(0, len(alike), together):
            queries, scores = zip(*alike[begin : begin + together], strict=True)
            steps = consensus(np.stack(scores), OVERLAPS[rule], focus)
            for runs, confidences in itertools.islice(steps, 10):
                lines = zip(queries, runs.tolist(), confidences.tolist(), strict=True)
                for query, run, confidence in lines:
                    if confidence > 0:
                        window = _window(range(*run), confidence, clip_seconds, durations[query])
                        found[query].append(window)
    return found


def _window(clips: range, confidence: float, clip_seconds: float, duration: float) -> Window:
    start, end = clips.start * clip_seconds, clips.stop * clip_seconds
    return float(start), float(min(end, duration)), round(confidence, 6)


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
    if rule not in OVERLAPS:
        raise HlclipError(f"rule is {rule!r}, expected {', '.join(OVERLAPS)}")
    if top < 1:
        raise HlclipError(f"top is {top}, expected at least 1")
    scores = _checked(saliency, clip_seconds, duration)
    if scores is None:
        return [(range(_covered(np.size(saliency), clip_seconds, duration)), 1.0)]
    overlap = OVERLAPS[rule] if overlap is None else overlap
    taken = np.zeros(len(scores), dtype=bool)
    if rule == "consensus":
        steps = consensus(scores[None], overlap, focus)
        found = (((int(run[0]), int(run[1])), float(value)) for (run,), (value,) in steps)
    elif rule == "peaks":
        found = peaks(scores, taken)
    else:
        found = apart(*CANDIDATES[rule](scores), overlap)
    if min_seconds > 0 or rule == "peaks":
        starts = np.arange(len(scores)) * clip_seconds  # [clips]
        ends = np.minimum(starts + clip_seconds, duration)
        found = _grown(found, scores, taken, overlap, starts, ends, min_seconds)
    return [(range(*run), confidence) for run, confidence in itertools.islice(found, top)]


def _covered(clips: int, clip_seconds: float, duration: float) -> int:
    """Clips that start before the end of the video."""
    if (clips - 1) * clip_seconds < duration:
        return clips
    return int((np.arange(clips) * clip_seconds < duration).sum())


def _checked(
    saliency: ArrayLike, clip_seconds: float, duration: float
) -> NDArray[np.float64] | None:
    """Scores of the clips that start before the end of the video, 0..1; None if all are equal."""
    scores = np.asarray(saliency, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise HlclipError(f"saliency has shape {scores.shape}, expected [clips], at least one")
    if not np.isfinite(scores).all():
        clip = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise HlclipError(f"saliency of clip {clip} is {scores[clip]}, expected a finite number")
    if not duration > 0:
        raise HlclipError(f"duration is {duration}, expected a positive number of seconds")
    if not 0 < clip_seconds < np.inf:
        raise HlclipError(f"clip_seconds is {clip_seconds}, expected a positive number of seconds")
    scores = scores[: _covered(len(scores), clip_seconds, duration)]
    lowest, highest = float(scores.min()), float(scores.max())
    if lowest == highest:
        return None
    return scaled(scores if np.isfinite(highest - lowest) else scores / 2)


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
        open_clips = None
        while ends[stop - 1] - starts[first] < enough:
            if open_clips is None:
                open_clips = np.pad(np.where(taken, -np.inf, scores), 1, constant_values=-np.inf)
            left, right = open_clips[first], open_clips[stop + 1]
            if left == right == -np.inf:
                break
            first, stop = (first - 1, stop) if left > right else (first, stop + 1)
        if overlap == 0:
            near = taken[first:stop].any()
        else:
            near = before and iou(np.array([[first, stop]]), np.array(before)).max() > overlap
        if near or ends[stop - 1] - starts[first] < enough:
            continue
        before.append((first, stop))
        taken[first:stop] |= overlap == 0
        yield (first, stop), confidence
