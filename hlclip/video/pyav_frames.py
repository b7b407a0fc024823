"""`frames.decoder: pyav`: decode only what a sampled frame needs. The same pixels, less work.

One frame of fifty is kept, so most decoding is for nothing. In H.264 a picture that no other refers
to is skipped unless it is sampled, and so is the rest of a group of pictures after its last sample.
Whatever is not a plain H.264 stream is left to ffmpeg, by an error that says why.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hlclip.formats import Header
from hlclip.video.container import MOST_PIXELS, MOST_SECONDS, VideoError, is_cover, open_video
from hlclip.video.h264 import H264Error, Kind, describe, length_size

Filters = list[tuple[str, dict[str, str]]]
"""Name and options of each."""

STAMPED = frozenset({"mp4", "matroska"})
"""Containers that give every picture its time; elsewhere ffmpeg makes some up, or mends them."""


class UnsuitedError(Exception):
    """The video is to be decoded whole, by ffmpeg; the message says why."""


@dataclass(frozen=True)
class Packet:
    pts: int
    duration: int
    kind: Kind


def sampled_frames(
    path: Path, header: Header, scaling: Filters, *, most_bytes: int
) -> NDArray[np.uint8]:
    """What `extract_frames` gives, pixel for pixel.

    Args:
        path: a video file.
        header: see `frames_header`.
        scaling: filters from a decoded picture to a frame: name and options.
        most_bytes: of all frames, which are in memory at once.

    Returns:
        uint8 [clips, height, width, RGB], 0..255.

    Raises:
        UnsuitedError: not an H.264 stream of one size with time stamps, damaged, or too long.
    """
    try:
        packets, offset, unit = read_packets(path)
        shown = _shown_at_middles(packets, offset, unit, Fraction(str(header["clip_seconds"])))
        if not shown:
            raise UnsuitedError("no frame")
        if len(shown) * int(header["size"]) ** 2 * 3 > most_bytes:
            raise UnsuitedError(f"its frames take more than {most_bytes:,} bytes of memory")
        wanted = frozenset(shown)
        pictures = dict(_scaled(path, needed_packets(packets, wanted), wanted, scaling))
    except (H264Error, VideoError) as error:
        raise UnsuitedError(str(error)) from error
    if lost := wanted - pictures.keys():
        raise UnsuitedError(f"{len(lost)} sampled pictures did not come out of the decoder")
    return np.stack([pictures[pts] for pts in shown])


def _stream(container: InputContainer) -> VideoStream:
    streams = [stream for stream in container.streams.video if not is_cover(stream)]
    if not streams or cast("VideoCodecContext | None", streams[0].codec_context) is None:
        raise UnsuitedError("no video stream of a known codec")
    return streams[0]


def read_packets(path: Path) -> tuple[list[Packet], int, Fraction]:
    """All packets in decoding order, the time stamp that is 0 s, and their unit in seconds."""
    packets = []
    sequences: set[bytes] = set()
    with open_video(path) as container:
        stream = _stream(container)
        if not STAMPED.intersection(container.format.name.split(",")):
            name = container.format.name
            raise UnsuitedError(f"time stamps of {name} are not of single pictures")
        if (name := stream.codec_context.codec.canonical_name) != "h264":
            raise UnsuitedError(f"the codec is {name}")
        lengths = length_size(stream.codec_context.extradata)
        assert stream.time_base is not None
        for packet in container.demux(stream):
            if packet.size == 0:
                continue  # demux's mark of the end
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                raise UnsuitedError("a packet without time stamp, cut off, or not to be shown")
            kind, found = describe(memoryview(packet), lengths)
            sequences |= found
            packets.append(Packet(packet.pts, packet.duration or 0, kind))
        start = Fraction(container.start_time or 0, av.time_base) / stream.time_base
        unit = stream.time_base
    if not packets or packets[0].kind != "idr":
        raise UnsuitedError("it does not begin with an IDR picture")
    if len(sequences) > 1:
        raise UnsuitedError("its sequence parameters change")
    offset = _nearest(start)
    times = [packet.pts for packet in packets]
    if len(set(times)) < len(times) or min(times) < offset:
        raise UnsuitedError("time stamps come twice, or before the start")
    if packets[times.index(max(times))].duration == 0:
        raise UnsuitedError("the last picture has no duration")
    return packets, offset, unit


def _shown_at_middles(
    packets: list[Packet], offset: int, unit: Fraction, clip: Fraction
) -> list[int]:
    """For each clip the time stamp of what is shown at its middle, as ffmpeg's `fps` filter has it.

    The filter rounds times to whole clips and shows the last picture of each; before there is one,
    the first that it shows.
    """
    times = sorted(packets, key=lambda packet: packet.pts)
    clips = [_nearest((packet.pts - offset) * unit / clip) for packet in times]
    end = _nearest((times[-1].pts + times[-1].duration - offset) * unit / clip)
    if end * clip > MOST_SECONDS:
        raise UnsuitedError("longer than any video may be")
    shown: list[int] = []
    for packet, begins, until in zip(times, clips, [*clips[1:], end], strict=True):
        if until > begins:
            shown += [packet.pts] * (until - len(shown))
    return shown


def needed_packets(packets: list[Packet], wanted: frozenset[int]) -> list[bool]:
    """Which packets to decode so that the wanted pictures come out as if all had been."""
    needed = [False] * len(packets)
    sampled = False  # later in this group of pictures, which is walked backwards
    for place in range(len(packets) - 1, -1, -1):
        packet = packets[place]
        sampled |= packet.pts in wanted
        needed[place] = packet.pts in wanted or (sampled and packet.kind != "disposable")
        if packet.kind == "idr":
            sampled = False
    return needed


def _scaled(
    path: Path, needed: list[bool], wanted: frozenset[int], scaling: Filters
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the needed packets; time stamp and frame of each wanted picture."""
    with open_video(path) as container:
        stream = _stream(container)
        stream.thread_count = 1
        # Damage is for ffmpeg, which conceals it.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MOST_PIXELS)}
        scaler: _Scaler | None = None
        for picture in _decode(container, stream, needed):
            if picture.pts in wanted:
                scaler = scaler or _Scaler(stream, picture, scaling)
                yield picture.pts, scaler.frame(picture)


def _decode(
    container: InputContainer, stream: VideoStream, needed: list[bool]
) -> Iterator[VideoFrame]:
    packets = (packet for packet in container.demux(stream) if packet.size)
    for packet in compress(packets, needed):
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


class _Scaler:
    """The filters between a decoded picture and a frame."""

    def __init__(self, stream: VideoStream, first: VideoFrame, scaling: Filters) -> None:
        self._look = _look(first)
        self._graph = Graph()
        aspect = stream.sample_aspect_ratio or Fraction(0)  # 0 is unknown
        source = {
            "video_size": f"{first.width}x{first.height}",
            "pix_fmt": first.format.name,
            "time_base": str(stream.time_base),
            "pixel_aspect": f"{aspect.numerator}/{aspect.denominator}",
            "colorspace": str(int(first.colorspace)),
            "range": str(int(first.color_range)),
        }
        nodes: list[Any] = [self._graph.add("buffer", **source)]
        nodes += [self._graph.add(name, **options) for name, options in scaling]
        nodes.append(self._graph.add("buffersink"))
        self._graph.link_nodes(*nodes).configure()

    def frame(self, picture: VideoFrame) -> NDArray[np.uint8]:
        if picture.is_corrupt or picture.interlaced_frame or picture.rotation:
            raise UnsuitedError("a picture is damaged, interlaced or rotated")
        if _look(picture) != self._look:
            raise UnsuitedError("size or pixel format change")
        self._graph.vpush(picture)
        frame: Any = self._graph.vpull()
        return frame.to_ndarray()


def _look(picture: VideoFrame) -> tuple[Any, ...]:
    return picture.width, picture.height, picture.format.name, picture.colorspace


def _nearest(value: Fraction) -> int:
    """Round half away from zero, as ffmpeg does."""
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole
