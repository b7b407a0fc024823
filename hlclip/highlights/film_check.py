"""What a film promises to show, and whether its file shows it.

That ffmpeg ends without an error proves nothing: a film may be empty, stand still or show other
moments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import ceil
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from hlclip.highlights.pictures import pictures
from hlclip.video import (
    FFmpegProcess,
    VideoError,
    open_video,
    probe,
    second_zero,
    sound_stream,
    video_input,
    video_stream,
)

TOLERANCE_SECONDS = 0.1
"""Of every time in a film; the ranges are printed in tenths of a second."""

_MOST_DIFFERENT = 24
"""Mean difference of two pictures of the same moment, of 255 gray levels: codecs lose details."""

_TENTHS = 4
"""Tenths of a second at the beginning of a piece that are compared, the incomplete one omitted."""

_SIDE = 16
"""Height and width in pixels to which pictures are scaled before they are compared."""

_MIDDLE = (36, 64)
"""Width and height to which the middle of a picture is cut before, for a vertical film."""


@dataclass(frozen=True)
class Piece:
    """A range of a video that a film shows, in seconds of the video's clock."""

    start: float
    end: float
    times: NDArray[np.float64]
    """[pictures], seconds from `start` at which a picture begins, in the order of time."""


def check(film: Path, video: Path, pieces: Sequence[Piece], *, vertical: bool = False) -> None:
    """Decode a film, and compare it with the pieces of `video` that it shall show.

    Args:
        vertical: the film shows the middle of each picture, see `encode`.

    Raises:
        VideoError: it cannot be decoded; a picture is missing; picture or sound are too short or
            too long; or a piece begins with another picture than in the video.
    """
    *begins, total = accumulate((piece.end - piece.start for piece in pieces), initial=0.0)
    with open_video(video) as file:
        streams = 1 + bool(sound_stream(file))
    spans = _decode(film, total, streams)
    expected = np.concatenate([b + p.times for b, p in zip(begins, pieces, strict=True)])
    if len(spans[0]) < len(expected):
        raise VideoError(f"the film has {len(spans[0])} pictures, expected {len(expected)}")
    distances = _distances(expected, spans[0][:, 0])
    if distances.max() > TOLERANCE_SECONDS:
        raise VideoError(f"the film has no picture at {expected[distances.argmax()]:.2f} s")
    for name, times in zip(("pictures", "sound"), spans, strict=False):
        if abs((end := times[:, 1].max()) - total) > TOLERANCE_SECONDS:
            raise VideoError(f"the film has {name} until {end:.2f} s, expected {total:.2f} s")
    if streams > 1:
        _check_gaps(spans[1])
    _check_first_pictures(film, begins, video, pieces, vertical=vertical)


def _decode(film: Path, seconds: float, streams: int) -> list[NDArray[np.float64]]:
    """[parts, (begin, end)] in seconds of every picture, and of every packet of sound."""
    source = video_input(film)
    wanted = [source["V:0"].filter("scale", 2, 2), source["a:0?"]][:streams]
    # Pictures have their own times, not those of a constant rate.
    options = {"format": "framecrc", "enc_time_base:v": "1/90000"}
    output = ffmpeg.output(*wanted, "pipe:", **options)
    with FFmpegProcess(output, film, gap_seconds=seconds) as process:
        lines = process.read(2**31, seconds=seconds).decode().splitlines()
        status, complaints = process.end()
    if status != 0 or complaints:
        raise VideoError(f"the film is damaged: {complaints[0] if complaints else status}")
    units = [float(Fraction(line.split()[-1])) for line in lines if line.startswith("#tb ")]
    spans: list[list[tuple[float, float]]] = [[] for _ in range(streams)]
    for line in lines:
        if not line.startswith("#"):
            stream, _, begin, length, *_ = line.split(",")
            unit = units[int(stream)]
            spans[int(stream)].append((int(begin) * unit, (int(begin) + int(length)) * unit))
    for name, found in zip(("picture", "sound"), spans, strict=False):
        if not found:
            raise VideoError(f"the film has no {name}")
    return [np.array(sorted(found)) for found in spans]


def _distances(times: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each time from the nearest of the others, which are sorted."""
    fenced = np.concatenate([[-np.inf], others, [np.inf]])
    after = np.searchsorted(fenced, times)
    return np.minimum(times - fenced[after - 1], fenced[after] - times)


def _check_gaps(sound: NDArray[np.float64]) -> None:
    ends = np.append(0.0, np.maximum.accumulate(sound[:, 1])[:-1])
    gaps = sound[:, 0] - ends
    if gaps.max() > TOLERANCE_SECONDS:
        raise VideoError(f"the film has no sound at {ends[gaps.argmax()]:.2f} s")


def _check_first_pictures(
    film: Path, begins: Sequence[float], video: Path, pieces: Sequence[Piece], *, vertical: bool
) -> None:
    """Compare pictures of the first tenths of a second of each piece.

    Where a picture of the film is like one of the video, they are of the same moment: not all are,
    for between two of them there may be a flash or a cut.
    """
    step = TOLERANCE_SECONDS
    last = _last_tenth(video)  # the last picture stands longer, and no clip is scored there
    made: list[int] = []
    wanted: list[int] = []
    for begin, piece in zip(begins, pieces, strict=True):
        first = ceil(begin / step)
        nearest = round((piece.start - begin) / step + first)
        # The pictures of a shorter piece may be those of its neighbours.
        if piece.end - piece.start > _TENTHS * step and nearest + _TENTHS - 2 <= last:
            made += range(first, first + _TENTHS - 1)
            wanted += range(nearest, nearest + _TENTHS - 1)
    if not made:
        return
    shape = (-1, _TENTHS - 1, _SIDE, _SIDE)
    shown = _small(film, made).reshape(shape)
    expected = _small(video, wanted, vertical=vertical).reshape(shape)
    difference = np.abs(shown[:, :, None] - expected[:, None]).mean(axis=(3, 4)).min(axis=(1, 2))
    if difference.max() > _MOST_DIFFERENT:
        second = made[difference.argmax() * (_TENTHS - 1)] * step
        raise VideoError(f"the film shows another picture at {second:.1f} s than the video")


def _last_tenth(video: Path) -> int:
    """Number of the last tenth of a second that has a picture of its own."""
    with open_video(video) as file:
        stream = video_stream(file)
        begin = float((stream.start_time or 0) * (stream.time_base or 0)) - second_zero(file)
    return max(0, int((max(0.0, begin) + probe(video).duration) / TOLERANCE_SECONDS) - 1)


def _small(video: Path, clips: Sequence[int], *, vertical: bool = False) -> NDArray[np.float64]:
    """Pictures of clips of a tenth of a second, [clips, height, width], gray levels 0..255.

    Args:
        vertical: only the middle of each picture, 9:16.
    """
    height = _MIDDLE[1] if vertical else _SIDE
    images = pictures(video, clips, clip_seconds=TOLERANCE_SECONDS, height=height)
    if vertical:
        images = [ImageOps.fit(image, _MIDDLE) for image in images]
    small = [image.convert("L").resize((_SIDE, _SIDE)) for image in images]
    return np.array([np.asarray(image, np.float64) for image in small])
