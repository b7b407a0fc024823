"""Cut the best moments out of a video into a film."""

import logging
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hlclip.highlights.film_check import Piece, check
from hlclip.highlights.film_copy import copy
from hlclip.highlights.film_encode import encode
from hlclip.highlights.moments import Moment, joined
from hlclip.highlights.output import CutError, check_film
from hlclip.system import replacing
from hlclip.video import VideoError, VideoUnreadableError, open_video, video_stream

log = logging.getLogger(__name__)

Range = tuple[float, float]
"""Start and end in seconds."""

Way = Callable[[Path, Sequence[Range], Path], Sequence[Piece]]
"""Makes a film of ranges of a video, and says what the film shows; or raises `VideoError`."""


def cut_moments(
    video: Path | str,
    moments: Sequence[Moment],
    out: Path | str,
    *,
    exact: bool = False,
    vertical: bool = False,
    overwrite: bool = False,
) -> list[Range]:
    """Join moments in the order of time to a new film, written whole or not at all.

    The film has the video stream that is scored and the first stream of sound that holds any.
    Without `exact` the streams are copied, in seconds and without loss, but each range begins at
    the key frame before it. Where a copy does not show what it should, the streams are encoded.
    The film is decoded and compared with the video before it gets its name.

    Args:
        moments: of one or several queries; ranges that overlap are joined.
        out: the film; its suffix names the container.
        exact: encode the film, so that each range begins and ends at its exact frame.
        vertical: show the middle of each picture, 9:16; the film is encoded.
        overwrite: replace `out` if it exists.

    Returns:
        The ranges that the film shows.

    Raises:
        CutError: no moments; not a video; or no film could be made that shows them.
        HlclipError: `out` exists, or is the video itself.
    """
    video, out = Path(video), Path(out)
    check_film(video, out, overwrite=overwrite)
    ranges = joined(moments)
    if not ranges:
        raise CutError(f"{out}: got no moments, expected at least one")
    ways: list[Way] = [] if exact or vertical else [copy]
    ways += [partial(encode, seek=seek, vertical=vertical) for seek in (True, False)]
    try:
        with open_video(video) as file:
            video_stream(file)
        with replacing(out) as temporary:
            compare = partial(check, vertical=vertical)
            pieces = _first_that_works(ways, compare, video, ranges, out, temporary)
    except VideoError as error:
        raise CutError(f"{video}: {error}") from error
    return [(piece.start, piece.end) for piece in pieces]


def _first_that_works(
    ways: Sequence[Way],
    compare: Callable[[Path, Path, Sequence[Piece]], None],
    video: Path,
    ranges: Sequence[Range],
    out: Path,
    temporary: Path,
) -> Sequence[Piece]:
    """Make the film at `temporary` in the first way whose film shows what it should."""
    for number, way in enumerate(ways, 1):
        # A new file for each way, in a folder of its own: ffmpeg replaces none.
        film = temporary.with_name(f"film{number}{out.suffix}")
        try:
            pieces = way(video, ranges, film)
            compare(film, video, pieces)
        except VideoUnreadableError:
            raise  # no other way reads more
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
