"""Copy ranges of a video to a film, packet by packet: nothing is decoded, nothing is lost.

A range begins at the key frame before it. It ends with the last picture that its own pictures need,
which may be a few pictures later. `VideoError` says where this is not certain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from hlclip.highlights.film_check import TOLERANCE_SECONDS, Piece
from hlclip.video import VideoError, has_time_stamps, open_video, second_zero, video_stream

_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
"""Of containers that store an exact time for each picture, and its rotation."""

_EARLY_SECONDS = 12.0
"""A film begins at most this much before a range: encoders make a key frame every 250 pictures."""

_INTERLEAVE_SECONDS = 10.0
"""Sound that comes in the file this much later than its pictures is not read."""


@dataclass(frozen=True)
class _Run(Piece):
    """A piece that can be copied; it starts at a key frame."""

    stamps: list[int]
    """Time stamps of its pictures in the order of decoding, in the unit of the stream."""


def copy(video: Path, ranges: Sequence[tuple[float, float]], film: Path) -> Sequence[Piece]:
    """Write the pictures and the first sound of some ranges to a new film.

    Args:
        ranges: in the order of time, without overlaps. Pieces that overlap become one.

    Raises:
        VideoError: the streams cannot be copied.
    """
    if film.suffix.lower() not in _SUFFIXES:
        raise VideoError(f"a {film.suffix} file stores no exact time for each picture")
    with open_video(video) as source:
        if not has_time_stamps(source):
            raise VideoError("the video stores no exact time for each picture")
        picture = video_stream(source)
        pieces: list[_Run] = []
        for start, end in ranges:
            piece = _piece(source, picture, start, end)
            if pieces and piece.start <= pieces[-1].end:
                piece = _piece(source, picture, pieces.pop().start, end)
            pieces.append(piece)
        try:
            with av.open(str(film.absolute()), "w") as target:
                _write(source, picture, pieces, target)
        except (FFmpegError, ValueError) as error:  # ValueError: the container has no such codec
            raise VideoError(f"the streams do not fit into {film.suffix} ({error})") from error
    return pieces


def _piece(source: InputContainer, picture: VideoStream, start: float, end: float) -> _Run:
    """The pictures from the key frame of `start` to the last one before `end`."""
    assert picture.time_base is not None
    unit, zero = float(picture.time_base), second_zero(source)
    limit = round((end + zero) / unit)
    stamps: list[int] = []
    ends: list[int] = []
    needed = 0
    for packet in _from_key_frame(source, picture, start, [picture]):
        if packet.pts is None:
            raise VideoError("a picture has no time stamp")
        if (packet.pts if packet.dts is None else packet.dts) >= limit:
            break  # no later picture is shown before this one
        if packet.is_discard or packet.is_corrupt:
            raise VideoError("a picture is damaged, or hidden by an edit list")
        if stamps and packet.pts < stamps[0]:
            continue  # it refers to pictures before the key frame
        stamps.append(packet.pts)
        ends.append(packet.pts + (packet.duration or 0) if packet.pts >= limit else limit)
        if packet.pts < limit:
            needed = len(stamps)
    if not needed:
        raise VideoError("it has no picture there")
    if stamps[0] * unit - zero < start - _EARLY_SECONDS:
        raise VideoError(f"the key frame before {start:g} s is too far away")
    stamps = stamps[:needed]
    return _Run(
        start=stamps[0] * unit - zero,
        end=max(ends[:needed]) * unit - zero,
        times=(np.sort(stamps) - stamps[0]) * unit,
        stamps=stamps,
    )


def _from_key_frame(
    source: InputContainer, picture: VideoStream, start: float, streams: Sequence[Stream]
) -> Iterator["Packet[Any]"]:
    """Packets from the last key frame of `picture` at or before `start`."""
    assert picture.time_base is not None
    stamp = target = round((start + second_zero(source)) / picture.time_base)
    late = TOLERANCE_SECONDS / picture.time_base
    found: list[int] = []
    for _ in range(2):
        source.seek(target, stream=picture)
        first = next(source.demux(picture))
        if first.pts is None or not first.is_keyframe:
            break  # the index is wrong
        before = found == [first.pts]  # nothing is before it
        if first.pts <= stamp or (before and first.pts <= stamp + late):
            source.seek(target, stream=picture)
            yield from (packet for packet in source.demux(streams) if packet.size)
            return
        found.append(first.pts)
        # Some containers seek by the time of decoding.
        target = (first.pts if first.dts is None else first.dts) - 1
    raise VideoError(f"no key frame was found for second {start:g}")


def _write(
    source: InputContainer, picture: VideoStream, pieces: Sequence[_Run], film: OutputContainer
) -> None:
    streams = [picture, *source.streams.audio[:1]]
    copies = {
        stream.index: film.add_stream_from_template(stream, opaque=True) for stream in streams
    }
    # A packet is decoded when or before its picture is shown. In their order of decoding, packets
    # get the times of showing, all earlier by this much.
    early = max(
        shown - stamp
        for piece in pieces
        for stamp, shown in zip(piece.stamps, sorted(piece.stamps), strict=True)
    )
    begin = 0.0  # second of the film
    for piece in pieces:
        shift = begin - piece.start - second_zero(source)
        for packet, decoded in _packets(source, picture, streams, piece):
            assert packet.pts is not None
            moved = round(shift / packet.time_base)
            packet.pts += moved
            packet.dts = packet.pts if decoded is None else decoded - early + moved
            packet.stream = copies[packet.stream.index]
            film.mux(packet)
        begin += piece.end - piece.start


def _packets(
    source: InputContainer, picture: VideoStream, streams: Sequence[Stream], piece: _Run
) -> Iterator[tuple["Packet[Any]", int | None]]:
    """Packets of a piece; those of pictures with a time stamp that grows."""
    start, end = (seconds + second_zero(source) for seconds in (piece.start, piece.end))
    shown = sorted(piece.stamps)
    number = 0
    waiting = len(streams) > 1
    for packet in _from_key_frame(source, picture, piece.start, streams):
        if packet.pts is None:
            raise VideoError("a packet has no time stamp")
        time = float(packet.pts * packet.time_base)
        if packet.stream.index != picture.index:
            waiting = time < end
            # Sound that an edit list hides, all of a packet or some, is not copied.
            hidden = packet.is_discard or packet.has_sidedata("skip_samples")
            if start <= time < end and not hidden:
                yield packet, None
        elif number < len(shown) and packet.pts == piece.stamps[number]:
            # The last picture of a piece may stand longer than the piece.
            packet.duration = min(packet.duration or 0, round((end - time) / packet.time_base))
            yield packet, shown[number]
            number += 1
        elif number == len(shown) and (not waiting or time > end + _INTERLEAVE_SECONDS):
            break
