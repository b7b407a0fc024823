"""The best moments of a video: ranges of seconds with a high saliency."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlclip.evaluation import WINDOW, Rule, apply_map, find_clips, pool
from hlclip.formats import ScoreMap
from hlclip.system import HlclipError

MIN_RATING = 1.0
"""Lowest expected rating of a moment. People who rate 0 or 1 say that the query is not there."""


class Expected(NamedTuple):
    """What scores are worth."""

    rating: NDArray[np.float64]
    """[clips], mean rating that annotators are expected to give, 0 (very bad) .. 4 (very good)."""
    very_good: NDArray[np.float64]
    """[clips], probability that an annotator rates the clip 4, 0..1."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Saliency of every clip of one video for one query.

    Scores rank the clips of one curve; they do not compare between queries. `expected` says what
    they are worth, where the model has been measured on annotated videos.

    Examples:
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
    """[clips], -1..1, not pooled: what `measure` says, of the middle frame of each clip."""
    duration: float
    """Seconds; the last clip may end after it, or up to half a clip before it."""
    clip_seconds: float
    maps: Mapping[int, ScoreMap] = field(default_factory=dict)
    """Pooling window in clips -> map from pooled scores to ratings; empty where there is none."""
    measure: str = "cosine with the query"

    def expected(self, window: int = WINDOW) -> Expected | None:
        """Expected ratings of the pooled scores; None where there is no map for this window.

        The maps were fitted on the annotated videos of the run's val split. They hold for videos
        and queries like those.

        Args:
            window: pooling window in clips, odd; 1 is no pooling.
        """
        scores, found = pool(self.saliency, window), self.maps.get(window)
        if found is None:
            return None
        return Expected(apply_map(found.rating, scores), apply_map(found.very_good, scores))

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
    rating: float | None = None
    """Expected rating of its best clip, 0..4; None where there is no map, see `Curve.expected`."""
    very_good: float | None = None
    """Probability 0..1 that an annotator rates its best clip 4; None where there is no map."""

    @property
    def doubtful(self) -> bool:
        """It scores below 0, and no rating says what that is worth."""
        return self.rating is None and self.score < 0

    @property
    def worth(self) -> str:
        """The expected rating in words, `3.1 of 4`; without a map `below 0`, or nothing."""
        if self.rating is not None:
            return f"{self.rating:.1f} of 4"
        return "below 0" if self.doubtful else ""

    def reaches(self, min_score: float | None, min_rating: float) -> bool:
        """Are its score and its rating high enough? See `best_moments`."""
        rated = self.rating is None or self.rating >= min_rating
        return rated and (min_score is None or self.score >= min_score)

    @property
    def worth_in_full(self) -> str:
        """The same with the probability of a 4, `3.1 of 4, Very Good 45 %`."""
        if self.very_good is None:
            return self.worth
        return f"{self.worth}, Very Good {100 * self.very_good:.0f} %"


def best_moments(
    curve: Curve,
    *,
    top: int = 5,
    window: int = WINDOW,
    min_seconds: float = 4.0,
    rule: Rule = "consensus",
    min_score: float | None = None,
    min_rating: float = MIN_RATING,
) -> list[Moment]:
    """Up to `top` moments that do not overlap, the highest score first.

    The rule finds them in the pooled curve, see `hlclip.evaluation.find_clips`. Moments whose best
    clip is below the median of the curve are left out. The list is empty if nothing was found: no
    moment reaches `min_score` and `min_rating`.

    Args:
        window: pooling window in clips, odd; 1 is no pooling.
        min_seconds: shortest moment; a video whose clips are shorter together is one moment.
        rule: `consensus` finds where a moment begins and ends better than the other rules;
            `peaks` finds more and shorter moments.
        min_score: lowest score of a moment; None for no limit.
        min_rating: lowest expected rating of a moment, 0..4; no limit where there is no map.

    Raises:
        HlclipError: `top` is below 1, `window` even or below 1, `min_seconds` not positive,
            `min_rating` not in 0..4, or a score is not finite.
    """
    if not 0 < min_seconds < math.inf:
        raise HlclipError(f"min_seconds is {min_seconds}, expected a positive number of seconds")
    if not 0 <= min_rating <= 4:
        raise HlclipError(f"min_rating is {min_rating}, expected a rating of 0 to 4")
    if min_score is not None and not math.isfinite(min_score):
        raise HlclipError(f"min_score is {min_score}, expected a number")
    scores = pool(curve.saliency, window)
    ranges = find_clips(
        scores,
        rule=rule,
        top=top,
        overlap=0,
        clip_seconds=curve.clip_seconds,
        duration=curve.duration,
        min_seconds=min_seconds,
    )
    expected = curve.expected(window)
    median = float(np.median(scores))
    moments: list[Moment] = []
    for clips, _ in ranges:
        start, end = clips.start * curve.clip_seconds, curve.end_seconds(clips.stop - 1)
        best = _best(scores, clips)
        score = float(scores[best])
        if score >= median or not moments:
            worth = [float(each[best]) for each in expected or ()]
            moments.append(Moment(start, end, score, clips, *worth))
    found = [moment for moment in moments if moment.reaches(min_score, min_rating)]
    return sorted(found, key=lambda moment: -moment.score)


def best_clip(curve: Curve, moment: Moment, window: int) -> int:
    """The clip of a moment with the highest pooled score, counted from 0."""
    return _best(pool(curve.saliency, window), moment.clips)


def _best(scores: NDArray[np.floating], clips: range) -> int:
    return clips.start + int(scores[clips.start : clips.stop].argmax())


def joined(moments: Iterable[Moment]) -> list[tuple[float, float]]:
    """The ranges of moments in the order of time; ranges that overlap or touch become one."""
    ranges: list[tuple[float, float]] = []
    for start, end in sorted((moment.start_seconds, moment.end_seconds) for moment in moments):
        if ranges and start <= ranges[-1][1]:
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((start, end))
    return ranges


def clock(seconds: float) -> str:
    """A time in hours, minutes and seconds: `0:07`, `1:02:03`, `0:05.3`."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    fraction = f".{rest % 10}" if rest % 10 else ""
    return f"{head}:{rest // 10:02}{fraction}"
