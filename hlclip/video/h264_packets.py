"""The packets of an H.264 stream, and what refers to what, without decoding.

Two guarantees of the standard (ITU-T H.264) are used, and nothing else:

- `nal_ref_idc` 0: no other picture refers to this one (7.4.1);
- an IDR picture: nothing from here on refers to anything before it (3.69, 8.2.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

from hlclip.video.container import has_time_stamps, open_video, video_stream

Kind = Literal["idr", "reference", "disposable"]

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
        offset = nearest(Fraction(container.start_time or 0, av.time_base) / unit)
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


def nearest(value: Fraction) -> int:
    """Round half away from zero, as ffmpeg does."""
    whole = int(abs(value) + Fraction(1, 2))
    return whole if value >= 0 else -whole
