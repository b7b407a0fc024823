"""The peaks of a query's curve, which the report marks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from hlclip.results.page_queries import peaks


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([0, 1, 0, 0, 3, 0, 0, 2, 0], [4, 7, 1]),
        ([5, 4, 3, 2, 1], [0]),
        ([1, 1, 1, 1], [0, 2]),
        ([2], [0]),
    ],
)
def test_peaks_by_hand(curve: list[float], expected: list[int]):
    assert peaks(np.array(curve, np.float32), count=3, apart=1) == expected


@given(arrays(np.float32, st.integers(1, 30), elements=st.floats(-1, 1, width=32)))
def test_peaks_stand_out(curve: NDArray[np.float32]):
    found = peaks(curve, count=4, apart=2)
    assert curve[found[0]] == curve.max()
    assert len(found) <= 4
    for clip in found:
        assert curve[clip] == curve[max(clip - 2, 0) : clip + 3].max()
    assert all(abs(a - b) > 2 for a in found for b in found if a != b)
