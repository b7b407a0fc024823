"""Ends of moments at cuts of the video, which PySceneDetect finds.

A moment begins and ends between two clips. Frames are scored at the middles of clips, so what
changed there changed within half a clip before or after. If the video has a cut in that time, the
moment begins or ends at the cut.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from av.container import InputContainer
from av.error import InvalidDataError
from scenedetect import ContentDetector, FrameTimecode

from hlclip.highlights.moments import Curve, Moment
from hlclip.video import VideoError, open_video, second_zero, video_stream

log = logging.getLogger(__name__)

_WIDTH, _HEIGHT = 256, 144
"""Pixels to which frames are scaled: cuts are seen in small pictures, too."""


@cache  # several queries ask for the cuts of one video
def find_cuts(video: Path) -> tuple[float, ...]:
    """Decode a video, and find where one shot ends and the next begins, in seconds.

    Damaged frames are left out, with a warning.

    Raises:
        VideoError: it cannot be opened, or stores no times.
    """
    try:
        with open_video(video) as file:
            return tuple(_cuts(file, video))
    except VideoError as error:
        raise VideoError(f"{video}: its cuts are not known ({error})") from error


def _cuts(file: InputContainer, video: Path) -> list[float]:
    detector, times, cuts = ContentDetector(), list[float](), list[float]()
    stream, zero = video_stream(file), second_zero(file)
    stream.thread_type = "AUTO"
    damaged = 0
    for packet in file.demux(stream):
        try:
            frames = packet.decode()
        except InvalidDataError:
            damaged += 1
            continue
        for frame in frames:
            if frame.time is None:
                raise VideoError("its frames have no times; put it into a container such as MP4")
            small = frame.to_ndarray(format="bgr24", width=_WIDTH, height=_HEIGHT)
            # PySceneDetect counts the frames; their times are the file's: the rate may vary.
            found = detector.process_frame(FrameTimecode(len(times), fps=30.0), small)
            times.append(frame.time - zero)
            cuts += [times[cut.frame_num] for cut in found]
    if damaged:
        log.warning("%s: left out %d damaged packets; cuts there are not found", video, damaged)
    return cuts


def snapped(curve: Curve, moments: Sequence[Moment], *, min_seconds: float) -> list[Moment]:
    """The moments; each end is moved to the nearest cut that is less than half a clip away.

    So moments neither overlap nor become empty, and hold the same frames that were scored. The
    beginning and the end of the video stay. Ends of a moment that would become shorter than
    `min_seconds` stay, too.

    Raises:
        VideoError: see `find_cuts`.
    """
    cuts = find_cuts(curve.video)
    moved: dict[float, float] = {}
    for end in {time for each in moments for time in (each.start_seconds, each.end_seconds)}:
        inside = 0 < end < curve.duration
        near = min(cuts, key=lambda cut, end=end: abs(cut - end), default=end)
        moved[end] = near if inside and abs(near - end) < curve.clip_seconds / 2 else end
    while short := [
        end
        for each in moments
        for end in (each.start_seconds, each.end_seconds)
        if moved[each.end_seconds] - moved[each.start_seconds] < min_seconds and moved[end] != end
    ]:
        moved |= {end: end for end in short}  # which may make a neighbour shorter
    return [
        replace(each, start_seconds=moved[each.start_seconds], end_seconds=moved[each.end_seconds])
        for each in moments
    ]
