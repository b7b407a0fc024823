"""Failures are named, counted and tolerated up to the stated share, not one further."""

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlclip.pipeline.missing import TooManyMissingError, check_missing


def failures(count: int) -> dict[str, str]:
    return {f"vid{n:03}": f"reason {n}" for n in range(count)}


def test_nothing_failed(caplog: pytest.LogCaptureFixture) -> None:
    check_missing({}, total=0, share=0.0)
    assert not caplog.records


def test_an_error_names_every_video_with_its_reason() -> None:
    failed = failures(30)
    with pytest.raises(TooManyMissingError, match=r"30 of 40 videos \(75.00%\)") as caught:
        check_missing(failed, total=40, share=0.5)
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == [f"  {vid}: {reason}" for vid, reason in sorted(failed.items())]
    assert "data.max_missing = 0.5" in lines[0]


def test_many_tolerated_failures_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hlclip"):
        check_missing(failures(30), total=40, share=1.0)
    assert "30 of 40 videos (75.00%)" in caplog.text
    assert "vid019: reason 19" in caplog.text
    assert "vid020" not in caplog.text
    assert "... and 10 more, named in the manifest" in caplog.text


def test_tolerated_failures_are_named_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hlclip"):
        check_missing(failures(2), total=10, share=0.25)
    assert "vid000: reason 0" in caplog.text
    assert "vid001: reason 1" in caplog.text
    assert "2 of 10 videos (20.00%)" in caplog.text


@given(st.data())
def test_the_boundary_is_the_share_itself(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 200))
    count = data.draw(st.integers(1, total))
    check_missing(failures(count), total=total, share=count / total)
    with pytest.raises(TooManyMissingError):
        check_missing(failures(count), total=total, share=(count - 0.5) / total)


@given(st.integers(1, 200), st.integers(0, 20_000))
def test_the_advice_works_when_taken(count: int, rest: int) -> None:
    total = count + rest
    with pytest.raises(TooManyMissingError) as caught:
        check_missing(failures(count), total=total, share=0.0)
    (advised,) = re.findall(r"-S data\.max_missing=(\S+)$", str(caught.value))
    assert 0 <= float(advised) <= 1
    check_missing(failures(count), total=total, share=float(advised))
