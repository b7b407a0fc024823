"""Saliency pooling: one row, many rows, and a naive twin are the same."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hlclip.evaluation.pooling import Border, Mode, pool, pool_padded

BORDERS: tuple[Border, ...] = ("neighbours", "zero", "edge")
MODES: tuple[Mode, ...] = ("mean", "max")
WINDOWS = st.integers(0, 12).map(lambda half: 2 * half + 1)
ROWS = st.integers(1, 17).flatmap(
    lambda clips: arrays(np.float32, clips, elements=st.floats(-8, 8, width=32))
)


def naive(scores: NDArray[np.float32], window: int, mode: Mode, border: Border) -> list[float]:
    """The definition, clip by clip."""
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


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("mode", MODES)
@given(rows=st.lists(ROWS, min_size=1, max_size=5), window=WINDOWS)
def test_single_and_padded_equal_the_naive_twin(
    mode: Mode, border: Border, rows: list[NDArray[np.float32]], window: int
) -> None:
    lengths = np.array([len(row) for row in rows])
    matrix = np.full((len(rows), lengths.max()), np.nan, np.float32)  # padding is never read
    for line, row in zip(matrix, rows, strict=True):
        line[: len(row)] = row
    pooled = pool_padded(matrix, lengths, window=window, mode=mode, border=border)
    assert pooled.dtype == np.float32
    for line, row in zip(pooled, rows, strict=True):
        single = pool(row, window, mode=mode, border=border)
        np.testing.assert_array_equal(single, line[: len(row)])
        np.testing.assert_array_equal(
            single, np.asarray(naive(row, window, mode, border), np.float32)
        )


def test_borders() -> None:
    scores = np.array([3, 6, 9, -3], np.float32)
    np.testing.assert_array_equal(pool(scores, 3), [4.5, 6, 4, 3])
    np.testing.assert_array_equal(pool(scores, 3, border="zero"), [3, 6, 4, 2])
    np.testing.assert_array_equal(pool(scores, 3, border="edge"), [4, 6, 4, 1])
    np.testing.assert_array_equal(pool(-scores, 3, mode="max", border="zero"), [0, -3, 3, 3])
    np.testing.assert_array_equal(pool(scores, 3, mode="max"), [6, 9, 9, 9])


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("mode", MODES)
def test_window_1_changes_no_bit(mode: Mode, border: Border) -> None:
    scores = np.random.default_rng(0).normal(size=75).astype(np.float32)
    pooled = pool(scores, 1, mode=mode, border=border)
    assert pooled.tobytes() == scores.tobytes()
    assert not np.shares_memory(pooled, scores)


def test_a_window_wider_than_the_video_is_its_mean() -> None:
    np.testing.assert_array_equal(pool([1.0, 2.0, 6.0], 1001), [3, 3, 3])


@given(score=st.floats(-8, 8, width=32), clips=st.integers(1, 80), window=WINDOWS)
def test_equal_scores_stay_equal(score: float, clips: int, window: int) -> None:
    np.testing.assert_array_equal(pool(np.full(clips, score), window), np.full(clips, score))


def test_padding_comes_back_as_zero_and_empty_rows_are_legal() -> None:
    pooled = pool_padded(np.ones((3, 4)), np.array([4, 2, 0]), window=3)
    np.testing.assert_array_equal(pooled, [[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert pool([], 3).shape == (0,)


@pytest.mark.parametrize("window", [0, -1, 2, 10])
def test_only_odd_windows_have_a_middle(window: int) -> None:
    message = f"window is {window}, expected an odd number: only that has a middle clip"
    with pytest.raises(ValueError, match=re.escape(message)):
        pool([1.0, 2.0], window)


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="expected \\[clips\\]"):
        pool(np.ones((2, 2)), 3)
    with pytest.raises(ValueError, match="lengths must be 2 numbers from 0 to 3"):
        pool_padded(np.ones((2, 3)), np.array([3, 4]), window=3)
