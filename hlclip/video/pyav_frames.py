"""`frames.decoder: pyav`: decode only what a sampled frame needs. The same pixels, less work.

About one frame of fifty is sampled, so most decoding is wasted. Two kinds of H.264 packets are
skipped: pictures that no other picture refers to, unless they are sampled, and the rest of a group
of pictures after its last sample. Any other stream is left to ffmpeg, by an error that says why.

Two guarantees of the standard (ITU-T H.264) are used, and nothing else:

- `nal_ref_idc` 0: no other picture refers to this one (7.4.1);
- an IDR picture: nothing from here on refers to anything before it (3.69, 8.2.1).
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, compress
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from hlclip.formats import Clips, Header
from hlclip.video.clip_times import thresholds
from hlclip.video.container import (
    MOST_PIXELS,
    MOST_SECONDS,
    has_time_stamps,
    open_video,
    video_stream,
)
from hlclip.video.refusals import VideoError
from hlclip.video.workers import work_of_thread

Kind = Literal["idr", "reference", "disposable"]

Filters = list[tuple[str, dict[str, str]]]
"""Name and options of ffmpeg's filters, in their order."""

# nal_unit_type of coded pictures (a slice, its first partition, a slice of an IDR picture), and of
# a sequence parameter set.
_SLICES = (1, 2, 5)
_IDR = 5
_SEQUENCE = 7


class UnsuitedError(Exception):
    """ffmpeg has to decode the whole video; the message says why."""


@dataclass(frozen=True)
class Packet:
    """What is known of an encoded picture without decoding it; times in the stream's unit."""

    pts: int
    duration: int
    kind: Kind


def sampled_frames(
    path: Path, header: Header, *, most_bytes: int, clips: Clips | None = None
) -> NDArray[np.uint8]:
    """The frames of `extract_frames`, pixel for pixel.

    Args:
        most_bytes: limit on all frames, which are in memory at once.
        clips: as in `extract_frames`.

    Returns:
        uint8 [clips, height, width, RGB], 0..255.

    Raises:
        UnsuitedError: not an H.264 stream of one size with time stamps, damaged, or too long.
    """
    try:
        packets, offset, unit = read_packets(path)
        clips = clips or float(header["clip_seconds"])
        clip_pts = _pictures_at_middles(packets, offset, unit, clips)
        if not clip_pts:
            raise UnsuitedError("no frame")
        if len(clip_pts) * int(header["size"]) ** 2 * 3 > most_bytes:
            raise UnsuitedError(f"its frames take more than {most_bytes:,} bytes of memory")
        sampled = frozenset(clip_pts)
        frames = dict(_decode(path, needed_packets(packets, sampled), sampled, header))
    except VideoError as error:
        raise UnsuitedError(str(error)) from error
    if lost := sampled - frames.keys():
        raise UnsuitedError(f"{len(lost)} sampled pictures did not come out of the decoder")
    return np.stack([frames[pts] for pts in clip_pts])


def read_packets(path: Path) -> tuple[list[Packet], int, Fraction]:
    """All packets in decoding order, the time stamp of second 0, and the stamps' unit in seconds.

    Raises:
        UnsuitedError, VideoError: the pictures' times or references are not certain.
    """
    packets: list[Packet] = []
    sequences: set[bytes] = set()
    with open_video(path) as container:
        stream = video_stream(container)
        name = container.format.name
        if not has_time_stamps(container):
            raise UnsuitedError(f"time stamps of {name} are not of single pictures")
        if (codec := stream.codec_context.codec.canonical_name) != "h264":
            raise UnsuitedError(f"the codec is {codec}")
        lengths = length_size(stream.codec_context.extradata)
        unit = stream.time_base
        assert unit is not None
        for packet in container.demux(stream):
            if packet.size == 0:
                continue  # demux marks the end with an empty packet
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                raise UnsuitedError("a packet without time stamp, cut off, or not to be shown")
            kind, parameters = describe(memoryview(packet), lengths)
            sequences |= parameters
            packets.append(Packet(packet.pts, packet.duration or 0, kind))
        offset = _nearest(Fraction(container.start_time or 0, av.time_base) / unit)
    # Pictures before the first IDR picture may refer to pictures that the file does not hold.
    if not packets or packets[0].kind != "idr":
        raise UnsuitedError("it does not begin with an IDR picture")
    # New sequence parameters can change the size of the pictures.
    if len(sequences) > 1:
        raise UnsuitedError("its sequence parameters change")
    times = [packet.pts for packet in packets]
    if len(set(times)) < len(times) or min(times) < offset:
        raise UnsuitedError("time stamps come twice, or before the start")
    if packets[times.index(max(times))].duration == 0:
        raise UnsuitedError("the last picture has no duration")
    return packets, offset, unit


def length_size(extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit, 1..4; 0 where start codes separate the units."""
    # avcC (ISO/IEC 14496-15): the first byte is 1, the last 2 bits of the fifth are this size - 1.
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def describe(packet: memoryview, lengths: int) -> tuple[Kind, frozenset[bytes]]:
    """Kind of an H.264 packet's picture, and the packet's sequence parameter sets.

    Args:
        packet: one access unit.
        lengths: see `length_size`.

    Raises:
        UnsuitedError: the packet is damaged, or holds no picture.
    """
    kinds: set[Kind] = set()
    sequences = set()
    for unit in _units_by_start_code(packet) if lengths == 0 else _units_by_length(packet, lengths):
        # The first byte: forbidden_zero_bit (1 bit), nal_ref_idc (2), nal_unit_type (5).
        unit_type, reference = unit[0] & 31, unit[0] >> 5 & 3
        if unit_type in _SLICES:
            kinds.add("idr" if unit_type == _IDR else "reference" if reference else "disposable")
        elif unit_type == _SEQUENCE:
            sequences.add(bytes(unit).rstrip(b"\0"))
    if len(kinds) != 1:
        raise UnsuitedError(f"expected slices of one kind, found {sorted(kinds) or 'none'}")
    return kinds.pop(), frozenset(sequences)


def _units_by_length(packet: memoryview, lengths: int) -> Iterator[memoryview]:
    start = 0
    while start < len(packet):
        first = start + lengths
        start = first + int.from_bytes(packet[start:first], "big")
        if first >= start or start > len(packet):
            raise UnsuitedError("a NAL unit's length does not fit")
        yield packet[first:start]


def _units_by_start_code(packet: memoryview) -> Iterator[bytes]:
    _, *units = bytes(packet).split(b"\0\0\1")
    if not units:
        raise UnsuitedError("no start code")
    return filter(None, units)


def _pictures_at_middles(
    packets: list[Packet], offset: int, unit: Fraction, clips: Clips
) -> list[int]:
    """For each clip the time stamp of the picture at its middle, as in ffmpeg's `fps` filter."""
    shown = sorted(packets, key=lambda packet: packet.pts)
    # Step 1: the filter rounds the start of each picture, and the end of the last, to whole clips.
    # Clips of given times are counted instead, with ffmpeg's arithmetic (see `clip_times`).
    stamps = [packet.pts - offset for packet in shown]
    stamps.append(stamps[-1] + shown[-1].duration)
    if stamps[-1] * unit > MOST_SECONDS:
        raise UnsuitedError("longer than any video may be")
    if not isinstance(clips, tuple):
        clip = Fraction(str(clips))
        *starts, end = [_nearest(stamp * unit / clip) for stamp in stamps]
    else:
        too_late, second = thresholds(clips), unit.numerator / unit.denominator
        *starts, end = [bisect_right(too_late, stamp * second) for stamp in stamps]
    # Step 2: a picture fills the clips from its start to the next picture's, so of several that
    # start in one clip the last is sampled. The first one sampled also fills the clips before it.
    clip_pts: list[int] = []
    for packet, start, stop in zip(shown, starts, [*starts[1:], end], strict=True):
        if stop > start:
            clip_pts += [packet.pts] * (stop - len(clip_pts))
    return clip_pts


def needed_packets(packets: list[Packet], sampled: frozenset[int]) -> list[bool]:
    """Which packets to decode so that the sampled pictures are the same as if all were decoded."""
    needed = [False] * len(packets)
    sample_follows = False
    # Backwards, because a packet is needed for the sake of those after it.
    for place, packet in reversed(list(enumerate(packets))):
        # Step 1: sampled pictures are needed, and from here on the references before them.
        sample_follows |= packet.pts in sampled
        # Step 2: any reference picture may be referred to; a disposable one never is.
        needed[place] = packet.pts in sampled or (sample_follows and packet.kind != "disposable")
        # Step 3: nothing from an IDR picture on refers to anything before it.
        if packet.kind == "idr":
            sample_follows = False
    return needed


def _decode(
    path: Path, needed: list[bool], sampled: frozenset[int], header: Header
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the needed packets; time stamp and frame of each sampled picture."""
    with open_video(path) as container:
        stream = video_stream(container)
        stream.thread_count = 1
        # Any damage is an error here, because ffmpeg conceals it with pixels of its choice.
        stream.codec_context.options = {"err_detect": "explode", "max_pixels": str(MOST_PIXELS)}
        graph: Graph | None = None
        look = None
        packets = (packet for packet in container.demux(stream) if packet.size)
        # None at the end: the decoder gives the pictures that it still holds.
        work = work_of_thread()
        for packet in chain(compress(packets, needed), [None]):
            work.check()
            for picture in stream.codec_context.decode(packet):
                if picture.pts not in sampled:
                    continue
                if picture.is_corrupt or picture.interlaced_frame or picture.rotation:
                    raise UnsuitedError("a picture is damaged, interlaced or rotated")
                if graph is None:
                    graph, look = _filter_graph(stream, picture, header), _look(picture)
                if _look(picture) != look:
                    raise UnsuitedError("size or pixel format change")
                graph.vpush(picture)
                frame: Any = graph.vpull()
                yield picture.pts, frame.to_ndarray()


def _filter_graph(stream: VideoStream, first: VideoFrame, header: Header) -> Graph:
    """The filters between a decoded picture that looks like `first` and a frame."""
    aspect = stream.sample_aspect_ratio or Fraction(0)  # 0 is unknown
    source = {
        "video_size": f"{first.width}x{first.height}",
        "pix_fmt": first.format.name,
        "time_base": str(stream.time_base),
        "pixel_aspect": f"{aspect.numerator}/{aspect.denominator}",
        "colorspace": str(int(first.colorspace)),
        "range": str(int(first.color_range)),
    }
    graph = Graph()
    filters = [("buffer", source), *scaling(header), ("buffersink", {})]
    nodes: list[Any] = [graph.add(name, **options) for name, options in filters]
    graph.link_nodes(*nodes).configure()
    return graph


def scaling(header: Header) -> Filters:
    """ffmpeg's filters from a decoded picture to a frame."""
    size = str(header["size"])
    if header["resize"] == "shortest":
        # Pixels need not be square. Multiply first: `64/(iw/ih)` would round twice.
        width = f"if(lt(iw*sar,ih),{size},trunc({size}*iw*sar/ih))"
        height = f"if(lt(iw*sar,ih),trunc({size}*ih/(iw*sar)),{size})"
    else:
        width = height = size
    return [
        ("scale", {"w": width, "h": height, "flags": str(header["interpolation"])}),
        ("format", {"pix_fmts": "rgb24"}),
        ("crop", {"w": size, "h": size}),
    ]


def _look(picture: VideoFrame) -> tuple[Any, ...]:
    return picture.width, picture.height, picture.format.name, picture.colorspace


def _nearest(value: Fraction) -> int:
    """Round half away from zero, as ffmpeg does."""
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole
