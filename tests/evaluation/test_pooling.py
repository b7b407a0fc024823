"""Saliency pooling: one row, many rows, and a naive twin are the same."""

import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from hlclip.evaluation.metrics import ground_truth, highlight_metrics, pad
from hlclip.evaluation.pooling import Border, Mode, pool, pool_padded, pooling_text
from hlclip.formats import read_annotations, read_answers, saliency_of

BORDERS: tuple[Border, ...] = ("neighbours", "zero", "edge")
WINDOWS = st.integers(0, 12).map(lambda half: 2 * half + 1)
SIGMAS = st.sampled_from([0.0, 1e-300, 0.125, 0.3, 0.75, 1.0, 1.5, 5.0]) | st.floats(0, 6)
WIDTHS: dict[Mode, st.SearchStrategy[float]] = {
    "mean": WINDOWS,
    "max": WINDOWS,
    "gaussian": SIGMAS,
}
NO_POOLING: dict[Mode, float] = {"mean": 1, "max": 1, "gaussian": 0}
ROWS = st.integers(1, 17).flatmap(
    lambda clips: arrays(np.float32, clips, elements=st.floats(-8, 8, width=32))
)


def naive(scores: NDArray[np.float32], width: float, mode: Mode, border: Border) -> list[float]:
    """The definition, clip by clip."""
    if mode == "gaussian":
        return [naive_gaussian(scores, clip, width, border) for clip in range(len(scores))]
    window = int(width)
    pooled: list[float] = []
    for middle in range(len(scores)):
        around: list[float] = []
        for neighbour in range(middle - window // 2, middle + window // 2 + 1):
            if 0 <= neighbour < len(scores):
                around.append(float(scores[neighbour]))
            elif border == "zero":
                around.append(0.0)
            elif border == "edge":
                around.append(float(scores[0 if neighbour < 0 else -1]))
        if mode == "max":
            pooled.append(max(around))
            continue
        total = 0.0  # not sum(), which compensates rounding from Python 3.12 on
        for score in around:
            total += score
        pooled.append(total / len(around))
    return pooled


def naive_gaussian(scores: NDArray[np.float32], middle: int, sigma: float, border: Border) -> float:
    """The definition for one clip, exact: fractions of the float64 weights and scores."""
    total, weights = Fraction(0), Fraction(0)
    reach = math.floor(4 * sigma + 0.5)
    for distance in range(-reach, reach + 1):
        weight = Fraction(math.exp(-0.5 * (distance / sigma) ** 2) if distance else 1.0)
        neighbour = middle + distance
        if border == "edge":
            neighbour = min(max(neighbour, 0), len(scores) - 1)
        if 0 <= neighbour < len(scores):
            total += weight * Fraction(float(scores[neighbour]))
        elif border == "neighbours":
            weight = Fraction(0)
        weights += weight
    return float(total / weights)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("mode", WIDTHS)
@given(rows=st.lists(ROWS, min_size=1, max_size=5), data=st.data())
def test_single_and_padded_equal_the_naive_twin(
    mode: Mode, border: Border, rows: list[NDArray[np.float32]], data: st.DataObject
) -> None:
    width = data.draw(WIDTHS[mode])
    lengths = np.array([len(row) for row in rows])
    matrix = np.full((len(rows), lengths.max()), np.nan, np.float32)  # padding is never read
    for line, row in zip(matrix, rows, strict=True):
        line[: len(row)] = row
    pooled = pool_padded(matrix, lengths, width, mode=mode, border=border)
    assert pooled.dtype == np.float32
    for line, row in zip(pooled, rows, strict=True):
        single = pool(row, width, mode=mode, border=border)
        np.testing.assert_array_equal(single, line[: len(row)])
        expected = np.asarray(naive(row, width, mode, border), np.float32)
        if mode == "gaussian":  # the twin's sums are not rounded
            size = np.abs(row).max() * 1e-13
            np.testing.assert_allclose(single, expected, rtol=1.2e-7, atol=size)
        else:
            np.testing.assert_array_equal(single, expected)


def test_borders() -> None:
    scores = np.array([3, 6, 9, -3], np.float32)
    np.testing.assert_array_equal(pool(scores, 3), [4.5, 6, 4, 3])
    np.testing.assert_array_equal(pool(scores, 3, border="zero"), [3, 6, 4, 2])
    np.testing.assert_array_equal(pool(scores, 3, border="edge"), [4, 6, 4, 1])
    np.testing.assert_array_equal(pool(-scores, 3, mode="max", border="zero"), [0, -3, 3, 3])
    np.testing.assert_array_equal(pool(scores, 3, mode="max"), [6, 9, 9, 9])
    w = math.exp(-2)  # of the next clip at sigma 0.5; the one after it has w**4
    v = w**4
    borders: dict[Border, float] = {
        "neighbours": (3 + 6 * w + 9 * v) / (1 + w + v),
        "zero": (3 + 6 * w + 9 * v) / (1 + 2 * w + 2 * v),
        "edge": (3 + 3 * w + 6 * w + 3 * v + 9 * v) / (1 + 2 * w + 2 * v),
    }
    for border, first in borders.items():
        pooled = pool(scores, 0.5, mode="gaussian", border=border)
        assert pooled[0] == np.float32(first)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("mode", WIDTHS)
def test_no_pooling_changes_no_bit(mode: Mode, border: Border) -> None:
    scores = np.random.default_rng(0).normal(size=75).astype(np.float32)
    pooled = pool(scores, NO_POOLING[mode], mode=mode, border=border)
    assert pooled.tobytes() == scores.tobytes()
    assert not np.shares_memory(pooled, scores)


@pytest.mark.parametrize("border", BORDERS)
def test_a_gaussian_mean_tends_to_no_pooling_and_to_the_mean_of_all(border: Border) -> None:
    scores = np.random.default_rng(0).normal(size=75).astype(np.float32)
    np.testing.assert_array_equal(pool(scores, 0.13, mode="gaussian", border=border), scores)
    wide = pool(scores, 1000, mode="gaussian")
    np.testing.assert_allclose(wide, np.full(75, scores.mean()), atol=0.002)


def test_a_gaussian_mean_is_that_of_scipy() -> None:
    scores = np.random.default_rng(0).normal(size=75)
    for sigma in (0.5, 0.75, 1.0, 2.0, 7.0):
        theirs = gaussian_filter1d(scores, sigma, mode="nearest", truncate=4)
        ours = pool(scores, sigma, mode="gaussian", border="edge")
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
        inside = gaussian_filter1d(np.ones(75), sigma, mode="constant", truncate=4)
        theirs = gaussian_filter1d(scores, sigma, mode="constant", truncate=4)
        zero = pool(scores, sigma, mode="gaussian", border="zero")
        np.testing.assert_allclose(zero, theirs, atol=1e-6)
        ours = pool(scores, sigma, mode="gaussian", border="neighbours")
        np.testing.assert_allclose(ours, theirs / inside, atol=1e-6)


def test_a_window_wider_than_the_video_is_its_mean() -> None:
    np.testing.assert_array_equal(pool([1.0, 2.0, 6.0], 1001), [3, 3, 3])


@given(score=st.floats(-8, 8, width=32), clips=st.integers(1, 80), window=WINDOWS)
def test_equal_scores_stay_equal(score: float, clips: int, window: int) -> None:
    np.testing.assert_array_equal(pool(np.full(clips, score), window), np.full(clips, score))


@given(score=st.floats(-8, 8, width=32), clips=st.integers(1, 80), sigma=SIGMAS)
def test_equal_scores_stay_equal_in_a_gaussian_mean(score: float, clips: int, sigma: float) -> None:
    pooled = pool(np.full(clips, score), sigma, mode="gaussian")
    np.testing.assert_array_equal(pooled, np.full(clips, score))


@pytest.mark.parametrize("border", BORDERS)
@given(scores=ROWS, sigma=SIGMAS)
def test_a_gaussian_mean_keeps_the_ties_of_equal_and_mirrored_windows(
    border: Border, scores: NDArray[np.float32], sigma: float
) -> None:
    pooled = pool(scores, sigma, mode="gaussian", border=border)
    back = pool(scores[::-1], sigma, mode="gaussian", border=border)
    np.testing.assert_array_equal(pooled, back[::-1])
    reach = math.floor(4 * sigma + 0.5)
    thrice = pool(np.tile(scores, 3), sigma, mode="gaussian", border=border)
    if border == "neighbours":
        # Clips whose window is whole, and so is that of their next copy.
        first = thrice[reach : max(2 * len(scores) - reach, reach)]
        np.testing.assert_array_equal(first, thrice[reach + len(scores) :][: len(first)])


@pytest.mark.parametrize("mode", ["mean", "gaussian"])
def test_padding_comes_back_as_zero_and_empty_rows_are_legal(mode: Mode) -> None:
    pooled = pool_padded(np.ones((3, 4)), np.array([4, 2, 0]), 3, mode=mode)
    np.testing.assert_array_equal(pooled, [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert pool([], 3, mode=mode).shape == (0,)


@pytest.mark.parametrize("window", [0, -1, 2, 10, 2.5, math.nan, math.inf])
def test_only_odd_windows_have_a_middle(window: float) -> None:
    message = f"window is {window}, expected an odd number: only that has a middle clip"
    with pytest.raises(ValueError, match=re.escape(message)):
        pool([1.0, 2.0], window)


@pytest.mark.parametrize("sigma", [-0.1, 1001, math.nan, math.inf])
def test_sigma_is_a_number_of_clips(sigma: float) -> None:
    message = f"sigma is {sigma}, expected a number of clips from 0 to 1000"
    with pytest.raises(ValueError, match=message):
        pool([1.0, 2.0], sigma, mode="gaussian")


def test_a_pooling_in_words() -> None:
    assert pooling_text("mean", 3) == "mean of 3 clips"
    assert pooling_text("max", 5.0) == "max of 5 clips"
    assert pooling_text("gaussian", 0.75) == "gaussian mean, sigma 0.75 clips"
    assert pooling_text("mean", 1) == pooling_text("gaussian", 0.0) == "none"


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="expected \\[clips\\]"):
        pool(np.ones((2, 2)), 3)
    with pytest.raises(ValueError, match="lengths must be 2 numbers from 0 to 3"):
        pool_padded(np.ones((2, 3)), np.array([3, 4]), 3)


@pytest.mark.parametrize(
    ("split", "predictions", "mean", "gaussian"),
    [
        ("val_release", "moment_detr_val", 36.19, 36.49),
        ("test_with_gt", "cg_detr_test", 40.37, 40.49),
    ],
)
def test_a_gaussian_mean_is_better_than_the_best_plain_mean_on_published_scores(
    split: str, predictions: str, mean: float, gaussian: float, qvhighlights_dir: Path
) -> None:
    rows = read_annotations(qvhighlights_dir / f"highlight_{split}.jsonl")
    answers = read_answers(qvhighlights_dir / f"predictions/{predictions}.jsonl", rows)
    scores, lengths = pad(saliency_of(answers, predictions))
    truth = ground_truth(rows)

    def figure(width: float, mode: Mode) -> float:
        pooled = pool_padded(scores, lengths, width, mode=mode)
        return highlight_metrics(truth, pooled, lengths)["HL-min-VeryGood"]["HL-mAP"]

    assert figure(3, "mean") == mean
    assert figure(1, "gaussian") == gaussian
