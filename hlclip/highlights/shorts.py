"""Moments that fit into a film of limited length."""

from collections.abc import Sequence
from dataclasses import replace

from hlclip.highlights.moments import Curve, Moment, best_clip, joined


def shortened(curve: Curve, moment: Moment, seconds: float, *, window: int) -> Moment:
    """The moment, or the part of it that has `seconds` and its best clip in the middle.

    Args:
        window: pooling window in clips, with which the moment was found.
    """
    begin, end = moment.start_seconds, moment.end_seconds
    if end - begin <= seconds:
        return moment
    middle = (best_clip(curve, moment, window) + 0.5) * curve.clip_seconds
    start = min(max(begin, middle - seconds / 2), end - seconds)
    return replace(moment, start_seconds=start, end_seconds=start + seconds)


def within(
    ranked: Sequence[tuple[Curve, Moment]], seconds: float, *, shortest: float, window: int
) -> list[Moment]:
    """The moments of one video, the best first, until a film of them has `seconds`.

    The moment that is too long for the rest is shortened, see `shortened`, unless the rest is less
    than `shortest`. A shorter moment after it may still fit.

    Args:
        ranked: moments with their curves, the best first.
        seconds: at least `shortest`.
        window: pooling window in clips, with which the moments were found.
    """
    chosen: list[Moment] = []
    for curve, moment in ranked:
        room = seconds - _length(chosen)
        if _length([*chosen, moment]) <= seconds:
            chosen.append(moment)
        elif room >= shortest:
            chosen.append(shortened(curve, moment, room, window=window))
    return chosen


def _length(moments: Sequence[Moment]) -> float:
    return sum(end - start for start, end in joined(moments))
