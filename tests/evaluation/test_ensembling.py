"""The mean of several systems is that of their z-scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import zscore

from hlclip.evaluation.ensembling import ensemble


def test_z_scores_are_those_of_scipy_and_are_averaged() -> None:
    random = np.random.default_rng(0)
    systems = random.normal(size=(3, 75)) * [[1], [0.01], [300]] + [[0], [7], [-2]]
    theirs = np.asarray(zscore(systems, axis=1))
    np.testing.assert_allclose(ensemble(list(systems)), theirs.mean(axis=0), atol=1e-12)
    weights = np.array([1.0, 2.0, 5.0])
    expected = (weights[:, None] * theirs).sum(axis=0) / 8
    np.testing.assert_allclose(ensemble(list(systems), weights.tolist()), expected, atol=1e-12)


@given(
    scale=st.sampled_from([1e-300, 1e-3, 1.0, 1e300]),
    scores=st.lists(st.integers(-50, 50), min_size=1, max_size=20),
)
def test_the_range_of_a_system_does_not_count(scale: float, scores: list[int]) -> None:
    curve = np.array(scores, np.float64)
    other = np.random.default_rng(len(scores)).normal(size=len(scores))
    expected = ensemble([curve, other])
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(ensemble([curve * scale, other]), expected, atol=1e-12)
    np.testing.assert_allclose(
        ensemble([3 - 2 * curve, other]), ensemble([-curve, other]), atol=1e-12
    )


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=20))
def test_one_system_keeps_its_order_and_ties(scores: list[int]) -> None:
    mean = ensemble([scores, scores])
    _, rank = np.unique(scores, return_inverse=True)
    _, mean_rank = np.unique(mean, return_inverse=True)
    np.testing.assert_array_equal(mean_rank, rank)


def test_flat_curves_count_as_zero() -> None:
    np.testing.assert_array_equal(ensemble([[0.3] * 4, [5e-324] * 4]), [0] * 4)
    np.testing.assert_array_equal(ensemble([[0.1] * 4, [0, 2, 0, 2]]), [-0.5, 0.5, -0.5, 0.5])
    np.testing.assert_array_equal(ensemble([[3], [9]]), [0])
    assert ensemble([[], []]).shape == (0,)


def test_what_cannot_be_averaged_is_refused() -> None:
    for systems, weights, message in (
        ([[1, 2], [1, 2, 3]], [], r"shapes \[\(2,\), \(3,\)\]"),
        ([[[1, 2]]], [], r"shapes \[\(1, 2\)\]"),
        ([[1, 2]], [1, 2], "expected 1 positive"),
        ([[1, 2], [1, 2]], [1, 0], "expected 2 positive"),
        ([[1, 2], [1, 2]], [1, float("nan")], "expected 2 positive"),
    ):
        with pytest.raises(ValueError, match=message):
            ensemble(systems, weights)
