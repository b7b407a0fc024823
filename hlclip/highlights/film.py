"""Cut the best moments out of a video into a film, with ffmpeg."""

import logging
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import ffmpeg

from hlclip.highlights.moments import Moment
from hlclip.highlights.output import check_film
from hlclip.system import HlclipError, replacing
from hlclip.video import (
    CONTAINERS,
    FFmpegProcess,
    VideoError,
    check_plain,
    is_cover,
    open_video,
    video_input,
)

log = logging.getLogger(__name__)

Range = tuple[float, float]
"""Start and end in seconds."""

_SEEK_MARGIN_SECONDS = 0.14
"""In some containers ffmpeg seeks 3/23 s too early, and would find the key frame before."""

_ENCODING_BYTES = 16 * 2**30
"""Memory of an ffmpeg that encodes on all cores, each with its own frames."""


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

    The film has the first video stream and the first audio stream, if there is one. Without `exact`
    the streams are copied, in seconds and without loss, but each range begins at the key frame
    before it. Streams that the container of the film cannot hold are encoded instead.

    Args:
        moments: of one or several queries; ranges that overlap are joined.
        out: the film; its suffix names the container.
        exact: encode the film, so that each range begins and ends at its exact frame.
        overwrite: replace `out` if it exists.

    Returns:
        The ranges that the film shows.

    Raises:
        CutError: no moments, or ffmpeg fails.
        HlclipError: `out` exists, or is the video itself.
    """
    video, out = Path(video), Path(out)
    check_film(video, out, overwrite=overwrite)
    ranges = _joined((moment.start_seconds, moment.end_seconds) for moment in moments)
    if not ranges:
        raise CutError(f"{out}: got no moments, expected at least one")
    try:
        check_plain(video)
        with replacing(out) as temporary:
            film = temporary.with_name(f"film{out.suffix}")  # in a folder that also holds the parts
            if not exact:
                try:
                    pieces = _from_key_frames(video, ranges)
                    _copy(video, pieces, film)
                    ranges = [(piece.start, piece.end) for piece in pieces]
                except VideoError as error:
                    log.warning(
                        "%s: streams cannot be copied, so they are encoded (%s)", out, error
                    )
                    exact = True
            if exact:
                _encode(video, ranges, film)
            os.replace(film, temporary)
    except VideoError as error:
        raise CutError(f"{video}: {error}") from error
    return ranges


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """The ranges in the order of time; ranges that overlap or touch become one."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


@dataclass(frozen=True)
class _Piece:
    """A range that can be copied, because it begins at a key frame."""

    start: float
    end: float
    seek: float
    """The second at which ffmpeg must seek to begin at `start`."""


def _from_key_frames(video: Path, ranges: list[Range]) -> list[_Piece]:
    """The ranges, begun at the last key frame at or before their start; overlaps are joined."""
    pieces: list[_Piece] = []
    try:
        with open_video(video) as file:
            zero = (file.start_time or 0) / av.time_base
            stream = next(s for s in file.streams.video if not is_cover(s))
            for start, end in ranges:
                file.seek(round((start + zero) * av.time_base), backward=True)
                packets = (
                    (float(p.pts * p.time_base), p.is_keyframe)
                    for p in file.demux(stream)
                    if p.pts is not None and p.time_base is not None
                )
                first, second = next(packets), next(packets, None)
                key = max(0.0, first[0] - zero)
                if pieces and key <= pieces[-1].end:
                    pieces[-1] = replace(pieces[-1], end=max(end, pieces[-1].end))
                else:
                    # No margin where the next packet is a key frame: each frame may be one.
                    dense = second is None or second[1]
                    seek = start if dense else min(key + _SEEK_MARGIN_SECONDS, end)
                    pieces.append(_Piece(min(key, start), end, seek))
    except (VideoError, StopIteration) as error:
        raise VideoError(f"no key frame can be found ({error})") from error
    return pieces


def _copy(video: Path, pieces: Sequence[_Piece], film: Path) -> None:
    """Copy the pieces to files in the folder of `film`, then join the files."""
    parts = [film.with_name(f"{number}{film.suffix}") for number in range(len(pieces))]
    for piece, part in zip(pieces, parts, strict=True):
        source = _range_input(video, piece.seek, piece.end)
        streams = [source["V:0"], source["a:0?"]]
        copied = _output(part, *streams, c="copy", avoid_negative_ts="make_zero")
        _run(copied, video, until=piece.end)
    listing = film.with_name("parts.txt")
    listing.write_text("".join(f"file {shlex.quote(part.name)}\n" for part in parts))
    joined = ffmpeg.input(
        f"file:{listing.absolute()}",
        format="concat",
        protocol_whitelist="file",
        format_whitelist=f"concat,{CONTAINERS}",
    )
    _run(_output(film, joined, c="copy", map="0"), video, until=pieces[-1].end)


def _encode(video: Path, ranges: list[Range], film: Path) -> None:
    """Decode the ranges and encode them with the usual codecs of the container."""
    with open_video(video) as file:
        with_sound = bool(file.streams.audio)
    streams: list[Any] = []
    for start, end in ranges:
        source = _range_input(video, start, end)
        # Every player shows frames with even sides in 4:2:0.
        even = source["V:0"].filter("scale", "trunc(iw/2)*2", "trunc(ih/2)*2")
        streams.append(even.filter("format", "yuv420p"))
        if with_sound:
            streams.append(source["a:0"])
    joined = ffmpeg.concat(*streams, v=1, a=int(with_sound)).node
    outputs = [joined[number] for number in range(1 + with_sound)]
    _run(_output(film, *outputs), video, until=ranges[-1][1])


def _range_input(video: Path, start: float, end: float) -> Any:
    return video_input(video, ss=f"{start:.6f}", t=f"{end - start:.6f}")


def _output(film: Path, *streams: Any, **options: str) -> Any:
    # Without `file:` ffmpeg would take a folder such as `http:` for a protocol.
    return ffmpeg.output(*streams, f"file:{film.absolute()}", **options)


def _run(output: Any, video: Path, *, until: float) -> None:
    """Run ffmpeg, which without an index in the container has to read `video` up to a second."""
    with FFmpegProcess(output, video, gap_seconds=until, memory=_ENCODING_BYTES) as process:
        process.read(1, seconds=until)
        status, complaints = process.end()
    if status != 0:
        reason = complaints[0] if complaints else f"exit status {status}"
        raise VideoError(f"ffmpeg failed: {reason}")
