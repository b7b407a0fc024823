"""Moments for films of limited length."""

from pathlib import Path

import numpy as np
import pytest

from hlclip.highlights import Curve, Moment, shortened, within


def curve(best: int = 6) -> Curve:
    saliency = np.zeros(20, np.float32)
    saliency[best] = 1
    return Curve(Path("v.mp4"), "a dog", saliency, 40.0, 2.0)


def moment(start: float, end: float) -> Moment:
    return Moment(start, end, 0.5, range(int(start // 2), int(end // 2)))


def spans(moments: list[Moment]) -> list[tuple[float, float]]:
    return [(moment.start_seconds, moment.end_seconds) for moment in moments]


@pytest.mark.parametrize(
    ("best", "expected"), [(6, (10.5, 15.5)), (2, (4, 9)), (9, (15, 20)), (7, (12.5, 17.5))]
)
def test_a_moment_is_shortened_around_its_best_clip(
    best: int, expected: tuple[float, float]
) -> None:
    short = shortened(curve(best), moment(4, 20), 5, window=1)
    assert spans([short]) == [expected]
    assert spans([shortened(curve(best), moment(4, 20), 16, window=1)]) == [(4, 20)]


def test_the_best_clip_is_that_of_the_pooled_scores() -> None:
    saliency = np.array([0, 0, 0, 1, 0, 0, 0.9, 0.9, 0.9, 0], np.float32)
    found = Curve(Path("v.mp4"), "a dog", saliency, 20.0, 2.0)
    assert spans([shortened(found, moment(0, 20), 2, window=3)]) == [(14, 16)]
    assert spans([shortened(found, moment(0, 20), 2, window=1)]) == [(6, 8)]


def test_the_best_moments_fill_a_film() -> None:
    ranked = [(curve(), moment(*span)) for span in ((20, 28), (10, 20), (30, 34), (0, 2))]

    def film(seconds: float) -> list[tuple[float, float]]:
        return spans(within(ranked, seconds, shortest=4, window=1))

    assert film(24) == [(20, 28), (10, 20), (30, 34), (0, 2)]
    assert film(23) == [(20, 28), (10, 20), (30, 34)]  # too little is left for a part of the last
    assert film(14) == [(20, 28), (10, 16)]
    assert film(10) == [(20, 28), (0, 2)]
    assert film(6) == [(20, 26)]


def test_ranges_that_overlap_count_once() -> None:
    ranked = [(curve(), moment(10, 20)), (curve(), moment(12, 22)), (curve(), moment(20, 24))]
    assert spans(within(ranked, 14, shortest=4, window=1)) == [(10, 20), (12, 22), (20, 24)]
