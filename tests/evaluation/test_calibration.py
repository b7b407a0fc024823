"""Maps from scores to ratings: isotonic regression, applied by NumPy, and its calibration error."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from hlclip.evaluation import apply_map, calibration_error, fit_map, reliability
from hlclip.evaluation.calibration import GROUP
from hlclip.system import HlclipError

CLIPS = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 4)), min_size=1, max_size=40)
"""(score in hundredths, rating) of each clip."""


def arrays(clips: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    scores, ratings = np.array(clips).T
    return scores.astype(np.float32) / 100, ratings.astype(np.float64)


def pool_adjacent_violators(clips: list[tuple[int, int]]) -> dict[int, Fraction]:
    """Score -> value, by hand: blocks that fall are merged until none does."""
    blocks: list[tuple[list[int], list[int]]] = []  # scores, ratings
    for score in sorted({score for score, _ in clips}):
        blocks.append(([score], [rating for other, rating in clips if other == score]))
        while len(blocks) > 1 and mean(blocks[-2][1]) >= mean(blocks[-1][1]):
            scores, ratings = blocks.pop()
            blocks[-1] = (blocks[-1][0] + scores, blocks[-1][1] + ratings)
    return {score: mean(ratings) for scores, ratings in blocks for score in scores}


def mean(ratings: list[int]) -> Fraction:
    return Fraction(sum(ratings), len(ratings))


def test_violators_are_pooled_by_hand():
    # The ratings 3, 1 fall and share a mean of 2; the equal scores 0.4 share 3.5.
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.4])
    knots = fit_map(scores, np.array([0.0, 3, 1, 3, 4]), group=1)
    assert knots == ((0.1, 0.0), (0.2, 2.0), (0.3, 2.0), (0.4, 3.5))
    np.testing.assert_allclose(apply_map(knots, [0.15, 0.25, 0.35]), [1, 2, 2.75])


@given(CLIPS)
def test_a_map_is_the_naive_one_and_scikit_learns(clips: list[tuple[int, int]]):
    scores, ratings = arrays(clips)
    knots = fit_map(scores, ratings, group=1)
    if len(clips) == len({score for score, _ in clips}):  # groups of one clip each
        naive = pool_adjacent_violators(clips)
        values = apply_map(knots, [score / 100 for score in naive])
        np.testing.assert_allclose(values, [float(value) for value in naive.values()], atol=2e-6)
        learned = IsotonicRegression(out_of_bounds="clip").fit(scores.astype(np.float64), ratings)
        between = np.linspace(-0.6, 0.6, 50)
        steep = 100 * 4 * 1e-6  # scores and values are rounded to six decimals
        np.testing.assert_allclose(
            apply_map(knots, between), learned.predict(between), atol=steep + 1e-5
        )


@given(CLIPS, st.lists(st.floats(-2, 2), min_size=2))
def test_no_map_reverses_two_scores(clips: list[tuple[int, int]], asked: list[float]):
    knots = fit_map(*arrays(clips), group=3)
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(knots))
    values = apply_map(knots, sorted(asked))
    assert (np.diff(values) >= 0).all()
    ratings = [rating for _, rating in clips]
    assert min(ratings) - 1e-6 <= values.min() <= values.max() <= max(ratings) + 1e-6


def test_scores_beyond_the_ends_have_the_value_of_the_end():
    knots = ((-0.1, 0.5), (0.3, 3.0))
    np.testing.assert_array_equal(apply_map(knots, [-9, -0.1, 0.3, np.inf]), [0.5, 0.5, 3, 3])


def test_nan_is_refused():
    with pytest.raises(HlclipError, match="got NaN"):
        apply_map(((0.0, 0.0),), [0.1, np.nan])


def test_no_value_rests_on_a_few_clips():
    """One lucky clip with the highest score would make the end of the map its own rating."""
    random = np.random.default_rng(0)
    scores = random.normal(size=40 * GROUP)
    ratings = random.integers(0, 3, len(scores)).astype(float)
    ratings[scores.argmax()] = 4
    assert apply_map(fit_map(scores, ratings), scores.max()) < 2
    assert apply_map(fit_map(scores, ratings, group=1), scores.max()) == pytest.approx(4, abs=0.01)


def test_groups_are_those_of_scikit_learn_with_weights():
    random = np.random.default_rng(1)
    scores, ratings = random.normal(size=1013), random.integers(0, 5, 1013).astype(float)
    groups = np.split(np.argsort(scores), np.arange(1, 40) * 1013 // 40)
    x, y = (np.array([each[group].mean() for group in groups]) for each in (scores, ratings))
    learned = IsotonicRegression().fit(x, y, sample_weight=[len(group) for group in groups])
    np.testing.assert_allclose(
        apply_map(fit_map(scores, ratings), x), learned.predict(x), atol=1e-4
    )


def test_a_map_of_many_clips_is_small():
    scores = np.linspace(-1, 1, 100_000, dtype=np.float32)
    knots = fit_map(scores, scores + 1.0)
    assert len(knots) == 1000
    np.testing.assert_allclose(apply_map(knots, scores), scores + 1.0, atol=0.0011)
    assert len(fit_map(scores, (scores > 0).astype(float))) == 4  # two levels, two ends each


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 4)), min_size=1, max_size=60))
def test_the_calibration_error_is_the_mean_gap_of_the_bins(pairs: list[tuple[float, float]]):
    expected, observed = (np.array(each) for each in zip(*pairs, strict=True))
    total = 0.0
    for number in range(10):
        inside = [p for p in pairs if number == min(int(p[0] * 10 / 4), 9)]
        total += abs(sum(e for e, _ in inside) - sum(o for _, o in inside))
    bins = reliability(expected, observed, highest=4)
    assert sum(clips for *_, clips in bins) == len(pairs)
    assert calibration_error(bins) == pytest.approx(total / len(pairs), abs=1e-9)


def test_what_is_right_on_average_has_no_error():
    bins = reliability(
        np.array([0.25, 0.25, 0.25, 0.25, 1.0]), np.array([0, 0, 0, 1, 1.0]), highest=1
    )
    assert bins == [(0.25, 0.25, 4), (1.0, 1.0, 1)]
    assert calibration_error(bins) == 0
