"""Cut the best moments out of a video into a film."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from hlclip.highlights.film_check import Piece, check
from hlclip.highlights.film_copy import copy
from hlclip.highlights.film_encode import encode
from hlclip.highlights.moments import Moment
from hlclip.highlights.output import check_film
from hlclip.system import HlclipError, replacing
from hlclip.video import VideoError, open_video, video_stream

log = logging.getLogger(__name__)

Range = tuple[float, float]
"""Start and end in seconds."""

Way = Callable[[Path, Sequence[Range], Path], Sequence[Piece]]
"""Makes a film of ranges of a video, and says what the film shows; or raises `VideoError`."""


class CutError(HlclipError):
    """A film of the best moments cannot be made."""


def cut_moments(
    video: Path | str,
    moments: Sequence[Moment],
    out: Path | str,
    *,
    exact: bool = False,
    overwrite: bool = False,
) -> list[Range]:
    """Join moments in the order of time to a new film, written whole or not at all.

    The film has the video stream that is scored and the first audio stream, if there is one.
    Without `exact` the streams are copied, in seconds and without loss, but each range begins at
    the key frame before it. Where a copy does not show what it should, the streams are encoded.
    The film is decoded and compared with the video before it gets its name.

    Args:
        moments: of one or several queries; ranges that overlap are joined.
        out: the film; its suffix names the container.
        exact: encode the film, so that each range begins and ends at its exact frame.
        overwrite: replace `out` if it exists.

    Returns:
        The ranges that the film shows.

    Raises:
        CutError: no moments; not a video; or no film could be made that shows them.
        HlclipError: `out` exists, or is the video itself.
    """
    video, out = Path(video), Path(out)
    check_film(video, out, overwrite=overwrite)
    ranges = _joined((moment.start_seconds, moment.end_seconds) for moment in moments)
    if not ranges:
        raise CutError(f"{out}: got no moments, expected at least one")
    ways: list[Way] = [] if exact else [copy]
    ways += [partial(encode, seek=True), partial(encode, seek=False)]
    try:
        with open_video(video) as file:
            video_stream(file)
        with replacing(out) as temporary:
            pieces = _first_that_works(ways, video, ranges, out, temporary)
    except VideoError as error:
        raise CutError(f"{video}: {error}") from error
    return [(piece.start, piece.end) for piece in pieces]


def _first_that_works(
    ways: Sequence[Way], video: Path, ranges: Sequence[Range], out: Path, temporary: Path
) -> Sequence[Piece]:
    """Make the film at `temporary` in the first way whose film shows what it should."""
    for number, way in enumerate(ways, 1):
        # A new file for each way, in a folder of its own: ffmpeg replaces none.
        film = temporary.with_name(f"film{number}{out.suffix}")
        try:
            pieces = way(video, ranges, film)
            check(film, video, pieces)
        except VideoError as error:
            film.unlink(missing_ok=True)
            if number == len(ways):
                raise CutError(
                    f"{out}: no film could be made of {video}: {error}",
                    "choose another container, such as .mkv or .mp4",
                ) from error
            if way is copy:
                log.warning("%s: streams cannot be copied, so they are encoded (%s)", out, error)
        else:
            os.replace(film, temporary)
            return pieces
    raise AssertionError("the last way returns or raises")


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """The ranges in the order of time; ranges that overlap or touch become one."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
