"""The best moments of a curve."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlclip.evaluation.moment_rules import Rule
from hlclip.evaluation.moments import OVERLAPS
from hlclip.formats import ScoreMap, mean_of
from hlclip.highlights.moments import Curve, Moment, best_moments, clock
from hlclip.system.errors import HlclipError


def curve(scores: Sequence[float], duration: float | None = None) -> Curve:
    saliency = np.array(scores, np.float32)
    length = 2.0 * len(scores) if duration is None else duration
    return Curve(Path("v.mp4"), "q", saliency, length, 2.0)


def ranges(moments: list[Moment]) -> list[tuple[float, float]]:
    return [(moment.start_seconds, moment.end_seconds) for moment in moments]


peaks = partial(best_moments, rule="peaks")


def test_a_moment_reaches_half_way_down_to_the_median() -> None:
    #          median 0, peak 1: clips from 0.5 on belong to it
    scores = [0, 0, 0, 0.4, 0.5, 1, 0.6, 0.3, 0, 0, 0]
    (moment,) = peaks(curve(scores), window=1, min_seconds=2)
    assert moment == Moment(8.0, 14.0, 1.0, range(4, 7))


def test_best_first_and_the_slopes_of_a_hill_start_no_other() -> None:
    scores = [0, 0.4, 1, 0.4, 0, 0, 0.3, 2, 0.9, 0, 0, 0]
    moments = peaks(curve(scores), window=1, min_seconds=2)
    assert ranges(moments) == [(14.0, 16.0), (4.0, 6.0)]
    assert [moment.score for moment in moments] == [2.0, 1.0]


def test_top() -> None:
    scores = [0, 3, 0, 2, 0, 1, 0]
    assert ranges(peaks(curve(scores), top=2, window=1, min_seconds=2)) == [
        (2.0, 4.0),
        (6.0, 8.0),
    ]


def test_pooling_comes_first() -> None:
    lone, wide = [0, 0, 0, 1.5, 0, 0, 0], [0, 1, 1, 1, 0, 0, 0]
    scores = curve([*lone, *wide])
    assert peaks(scores, top=1, window=1)[0].score == 1.5
    (moment,) = peaks(scores, top=1, window=3)
    assert moment.score == 1.0
    assert moment.start_seconds >= 14


def test_short_moments_grow_towards_the_better_side() -> None:
    scores = [0, 0, 0, 0.1, 1, 0.2, 0.3, 0, 0, 0]
    (moment,) = peaks(curve(scores), window=1, top=1, min_seconds=6)
    assert ranges([moment]) == [(8.0, 14.0)]


def test_a_peak_without_room_is_left_out() -> None:
    scores = [0, 5, 5, 4.9, 5, 5, 0, 0, 0, 0, 0]
    assert len(peaks(curve(scores), window=1, min_seconds=2)) == 1
    walls = [9, 9, 0, 1, 0, 9, 9, 0, 0, 0, 0, 0, 0]
    assert ranges(peaks(curve(walls), window=1, min_seconds=8)) == [(0.0, 8.0), (10.0, 18.0)]


def test_peaks_below_the_median_are_no_moments() -> None:
    scores = [5, 5, 5, 5, 0, 1, 0]
    assert ranges(peaks(curve(scores), window=1)) == [(0.0, 8.0)]


def test_even_scores_are_one_moment() -> None:
    assert ranges(best_moments(curve([0.25] * 6))) == [(0.0, 12.0)]


def test_a_short_video_is_one_moment_within_its_duration() -> None:
    assert ranges(best_moments(curve([0.1, 0.2], 3.1), min_seconds=60)) == [(0.0, 3.1)]


@pytest.mark.parametrize(
    ("clips", "duration", "min_seconds"), [(1, 2.1, 4), (1, 2.9, 4), (2, 4.9, 4.5), (14, 28.9, 30)]
)
def test_a_short_video_with_an_end_that_belongs_to_no_clip_is_one_moment(
    clips: int, duration: float, min_seconds: float
) -> None:
    moments = best_moments(curve([0.1] * clips, duration), min_seconds=min_seconds)
    assert ranges(moments) == [(0.0, 2.0 * clips)]


def test_the_last_clip_ends_with_the_video() -> None:
    (moment,) = best_moments(curve([0, 0, 0, 0, 1], 9.2), window=1, min_seconds=2)
    assert ranges([moment]) == [(6.0, 9.2)]  # 1.2 s alone would be too short


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60),
    st.integers(1, 8),
    st.sampled_from([1, 3, 5]),
    st.floats(0.5, 20),
    st.floats(-0.99, 0.99),
    st.sampled_from(list(OVERLAPS)),
)
def test_moments_are_apart_inside_long_enough_and_in_order(
    scores: list[float], top: int, window: int, min_seconds: float, cut: float, rule: Rule
) -> None:
    duration = 2 * len(scores) - cut  # clips are as many as the nearest number that fits
    covered = min(duration, 2 * len(scores))
    moments = best_moments(
        curve(scores, duration), top=top, window=window, min_seconds=min_seconds, rule=rule
    )
    assert 1 <= len(moments) <= top
    assert [m.score for m in moments] == sorted((m.score for m in moments), reverse=True)
    for moment in moments:
        assert 0 <= moment.start_seconds < moment.end_seconds <= duration
        assert moment.end_seconds - moment.start_seconds >= min(min_seconds, covered)
    clips = [clip for moment in moments for clip in moment.clips]
    assert len(clips) == len(set(clips))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top": 0}, "top is 0, expected at least 1"),
        ({"window": 4}, "window is 4, expected an odd number"),
        ({"min_seconds": 0}, "min_seconds is 0, expected a positive"),
        ({"rule": "best"}, "rule is 'best', expected consensus, histogram, "),
        ({"min_seconds": float("nan")}, "min_seconds is nan"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(HlclipError, match=message):
        best_moments(curve([1, 2]), **settings)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (7.04, "0:07"), (59.96, "1:00"), (65.25, "1:05.2"), (3723, "1:02:03")],
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_nothing_is_found_below_the_lowest_score() -> None:
    scores = curve([0, 0.4, 0, 0.2, 0, 0.1, 0])
    found = peaks(scores, window=1, min_seconds=2, min_score=0.2)
    assert [moment.score for moment in found] == pytest.approx([0.4, 0.2])
    assert peaks(scores, window=1, min_seconds=2, min_score=0.5) == []


@pytest.mark.parametrize(("rating", "found"), [(0.99, 0), (1.0, 1), (1.5, 1)])
def test_a_moment_is_expected_to_be_rated_one(rating: float, found: int) -> None:
    maps = {1: ScoreMap("zero-shot", mean_of(1), ((0.0, rating),), ((0.0, 0.1),))}
    rated = replace(curve([0, 0, 1, 0, 0]), maps=maps)
    assert len(best_moments(rated, window=1)) == found
    assert len(best_moments(rated, window=1, min_rating=0)) == 1
    assert len(best_moments(rated, window=3)) == 1  # no rating is known: no limit


@pytest.mark.parametrize(
    "limits", [{"min_rating": 4.1}, {"min_rating": math.nan}, {"min_score": math.nan}]
)
def test_limits_that_are_no_numbers_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(HlclipError, match=f"{next(iter(limits))} is"):
        best_moments(curve([0, 1, 0]), **limits)
