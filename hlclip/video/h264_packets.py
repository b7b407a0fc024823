"""The packets of an H.264 stream, and what refers to what, without decoding.

Two guarantees of the standard (ITU-T H.264) are used, and nothing else:

- `nal_ref_idc` 0: no other picture refers to this one (7.4.1);
- an IDR picture: nothing from here on refers to anything before it (3.69, 8.2.1).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import av

from hlclip.video.container import has_time_stamps, open_video, video_stream
from hlclip.video.h264_headers import (
    Sequence,
    Slice,
    UnsuitedError,
    check_order,
    is_cabac,
)

Kind = Literal["idr", "reference", "disposable"]

# nal_unit_type of coded pictures (a slice, its first partition, a slice of an IDR picture), and of
# sequence and picture parameter sets.
_SLICES = (1, 2, 5)
_IDR = 5
_SEQUENCE, _PICTURE = 7, 8


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
    headers: list[Slice] = []
    with open_video(path) as container:
        stream = video_stream(container)
        name = container.format.name
        if not has_time_stamps(container):
            raise UnsuitedError(f"time stamps of {name} are not of single pictures")
        if (codec := stream.codec_context.codec.canonical_name) != "h264":
            raise UnsuitedError(f"the codec is {codec}")
        lengths, known = parameter_sets(stream.codec_context.extradata)
        unit = stream.time_base
        assert unit is not None
        for packet in container.demux(stream):
            if packet.size == 0:
                continue  # demux marks the end with an empty packet
            if packet.pts is None or packet.is_corrupt or packet.is_discard:
                raise UnsuitedError("a packet without time stamp, cut off, or not to be shown")
            slices, kind, parameters = describe(memoryview(packet), lengths)
            # New parameters can change all pictures after them, and this packet may be skipped.
            if packets and not parameters <= known:
                raise UnsuitedError("its parameters change")
            known |= parameters
            sequence = _sequence(known)
            read = {sequence.read_slice(unit, idr=kind == "idr") for unit in slices}
            if len(read) > 1:
                raise UnsuitedError("a packet holds slices of two pictures")
            headers += read
            packets.append(Packet(packet.pts, packet.duration or 0, kind))
        offset = nearest(Fraction(container.start_time or 0, av.time_base) / unit)
    # Pictures before the first IDR picture may refer to pictures that the file does not hold.
    if not packets or packets[0].kind != "idr":
        raise UnsuitedError("it does not begin with an IDR picture")
    times = [packet.pts for packet in packets]
    if len(set(times)) < len(times) or min(times) < offset:
        raise UnsuitedError("time stamps come twice, or before the start")
    if packets[times.index(max(times))].duration == 0:
        raise UnsuitedError("the last picture has no duration")
    kinds = [packet.kind for packet in packets]
    check_order(_sequence(known), zip(headers, kinds, times, strict=True))
    if not all(is_cabac(unit) for unit in known if unit[0] & 31 == _PICTURE):
        # With CAVLC, damage in a picture that no other refers to spreads in ffmpeg's decoder.
        packets = [
            replace(packet, kind="reference") if packet.kind == "disposable" else packet
            for packet in packets
        ]
    return packets, offset, unit


@cache
def _sequence(parameters: frozenset[bytes]) -> Sequence:
    """The one set of sequence parameters among a stream's parameters."""
    sequences = [unit for unit in parameters if unit[0] & 31 == _SEQUENCE]
    if len(sequences) != 1:
        raise UnsuitedError(f"expected one set of sequence parameters, found {len(sequences)}")
    return Sequence.read(sequences[0])


def parameter_sets(extradata: bytes | None) -> tuple[int, frozenset[bytes]]:
    """Bytes of the length before each unit, and the parameter sets in the container's header.

    The former is 1..4; 0 where start codes separate the units.
    """
    if not extradata or len(extradata) < 7 or extradata[0] != 1:
        return 0, frozenset(map(_whole, _units_by_start_code(memoryview(extradata or b""))))
    # avcC (ISO/IEC 14496-15): 1, four bytes whose last 2 bits are the size of lengths - 1, then the
    # number (5 bits) of sequence parameter sets and these, and the same (8 bits) of the pictures'.
    found, place = set(), 5
    for mask in (31, 255):
        count, place = extradata[place] & mask, place + 1
        for _ in range(count):
            first = place + 2
            place = first + int.from_bytes(extradata[place:first], "big")
            if place >= len(extradata) + (mask == 255):
                raise UnsuitedError("its parameters are cut off")
            found.add(_whole(extradata[first:place]))
    return (extradata[4] & 3) + 1, frozenset(found)


def _whole(unit: bytes | memoryview) -> bytes:
    return bytes(unit).rstrip(b"\0")


def describe(packet: memoryview, lengths: int) -> tuple[list[bytes], Kind, frozenset[bytes]]:
    """Slices of an H.264 packet's picture, their kind, and the packet's parameter sets.

    Args:
        packet: one access unit.
        lengths: see `parameter_sets`.

    Raises:
        UnsuitedError: the packet is damaged, or holds no picture.
    """
    slices: list[bytes] = []
    kinds: set[Kind] = set()
    parameters = set()
    for unit in _units_by_start_code(packet) if lengths == 0 else _units_by_length(packet, lengths):
        # The first byte: forbidden_zero_bit (1 bit), nal_ref_idc (2), nal_unit_type (5).
        unit_type, reference = unit[0] & 31, unit[0] >> 5 & 3
        if unit_type in _SLICES:
            slices.append(bytes(unit[:64]))
            kinds.add("idr" if unit_type == _IDR else "reference" if reference else "disposable")
        elif unit_type in (_SEQUENCE, _PICTURE):
            parameters.add(_whole(unit))
    if len(kinds) != 1:
        raise UnsuitedError(f"expected slices of one kind, found {sorted(kinds) or 'none'}")
    return slices, kinds.pop(), frozenset(parameters)


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
