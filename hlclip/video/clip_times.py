"""The picture at the middle of clips that have times of their own, in ffmpeg's words.

The rule is that of clips of one length: the last picture that begins before the middle. A picture
that begins within a microsecond of the middle does not begin before it, so that rounded times have
the same frames as exact ones.
"""

from typing import Any

from hlclip.formats import Clips, ClipTimes

_NEAR_SECONDS = 1e-6


def middles(times: ClipTimes) -> list[float]:
    """Seconds of the middle of each clip, rounded to microseconds; they never go back."""
    return [round((start + end) / 2, 6) for start, end in times]


def thresholds(times: ClipTimes) -> list[float]:
    """For each clip the second from which on a picture begins too late for it."""
    return [middle - _NEAR_SECONDS for middle in middles(times)]


def sample(picture: Any, clips: Clips, *, eof_action: str) -> Any:
    """ffmpeg's filters that give one picture for each clip.

    Args:
        picture: ffmpeg-python's node with the decoded pictures, second 0 at time stamp 0.
        eof_action: `round`, or `pass` for one more clip at the end.
    """
    if not isinstance(clips, tuple):
        # Without `start_time`: ffmpeg rebuilds the filters where a stream changes its size, and
        # would begin again at 0.
        return picture.filter("fps", f"1/{clips!r}", eof_action=eof_action)
    # A picture's new time is the number of clips that it begins too late for. So `fps` gives clip k
    # the last picture of all that are in time for it. A quarter more: `round` takes it off again,
    # and `pass` has one more clip at the end, of which this is the last picture's.
    # A picture without a time (NaN) stays without: 0*T.
    late_for = _count_expression(thresholds(clips), 0, len(clips))
    renumbered = picture.filter("setpts", f"floor(({late_for}+0.25+0*T)/TB+0.5)")
    return renumbered.filter("fps", "1", eof_action=eof_action)


def _count_expression(seconds: list[float], low: int, high: int) -> str:
    """How many of `seconds` are not after the time T, low..high, as a binary search.

    A sum of comparisons would be as deep as it is long, and ffmpeg evaluates 100 levels.
    """
    if low == high:
        return str(low)
    middle = (low + high) // 2
    more = _count_expression(seconds, middle + 1, high)
    fewer = _count_expression(seconds, low, middle)
    return f"if(gte(T,{seconds[middle]!r}),{more},{fewer})"


def waits(clips: Clips) -> float:
    """Most seconds of video between one clip's frame and the next, or the first."""
    if not isinstance(clips, tuple):
        return clips
    seconds = middles(clips)
    return max(after - before for before, after in zip([0.0, *seconds], seconds, strict=False))
