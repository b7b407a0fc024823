"""Names of the data sets and of the protocols that divide them; clips with times of their own."""

from itertools import pairwise
from typing import Literal

import numpy as np

from hlclip.formats.validation import shown

DataSet = Literal[
    "qvhighlights", "tvsum", "youtube-highlights", "charades-sta", "tacos", "activitynet"
]
"""Decides which metrics measure a row."""

RETRIEVAL: frozenset[DataSet] = frozenset(("charades-sta", "tacos", "activitynet"))
"""Data sets with windows and without ratings; they measure moment retrieval only."""

Protocol = Literal["zero-shot", "leave-one-out", "per-domain"]
"""How the videos of a data set with domains were divided into splits.

`zero-shot`: every video is in test. `leave-one-out`: all videos of one domain are in test, the
others in train and val. `per-domain`: train and val are videos of one domain; the field chooses
the epoch on val and reports the figure of that epoch on val.
"""

ClipTimes = tuple[tuple[float, float], ...]
"""(start, end) of each clip of a video in seconds, in order of time; clips may overlap."""

MOST_TIMED_CLIPS = 5_000
"""Of one video whose clips have times of their own: ffmpeg compares each picture with all times."""


def check_clip_times(clips: ClipTimes, duration: float = np.inf) -> None:
    """Refuse clips outside of the video, or out of order.

    Raises:
        ValueError: names the clips.
    """
    if not 1 <= len(clips) <= MOST_TIMED_CLIPS:
        raise ValueError(f"got {len(clips)} clips, expected 1 to {MOST_TIMED_CLIPS}")
    outside = [[start, end] for start, end in clips if not 0 <= start < end <= duration]
    if outside:
        raise ValueError(f"got {shown(outside)}, expected 0 <= start < end <= {duration} (seconds)")
    back = [[*clip] for last, clip in pairwise(clips) if clip[0] < last[0] or clip[1] < last[1]]
    if back:
        raise ValueError(
            f"got {shown(back)} after a clip that starts or ends later, expected order of time"
        )
