"""The kind of an H.264 packet, without decoding it: do other pictures depend on it?

Two guarantees of the standard (ITU-T H.264) are used, and nothing else:

- `nal_ref_idc` 0: no other picture refers to this one (7.4.1);
- an IDR picture: nothing from here on refers to anything before it (3.69, 8.2.1).

A packet holds NAL units. The first byte of each is forbidden_zero_bit (1 bit), nal_ref_idc (2) and
nal_unit_type (5).
"""

from collections.abc import Iterator
from typing import Literal

Kind = Literal["idr", "reference", "disposable"]

_IDR = 5
_SLICES = (1, 2, 5)
"""nal_unit_type of coded pictures: a slice, its first partition, a slice of an IDR picture."""
_SEQUENCE = 7


class H264Error(ValueError):
    """Bytes that are not a sequence of NAL units with a picture."""


def length_size(extradata: bytes | None) -> int:
    """Bytes of the length before each NAL unit, 1..4; 0 where start codes separate the units."""
    # avcC (ISO/IEC 14496-15): the first byte is 1, the last 2 bits of the fifth are this size - 1.
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def describe(packet: memoryview, lengths: int) -> tuple[Kind, frozenset[bytes]]:
    """Kind of a packet's picture, and the packet's sequence parameter sets.

    Args:
        packet: one access unit.
        lengths: see `length_size`.

    Raises:
        H264Error: the packet is damaged, or holds no picture.
    """
    kinds: set[Kind] = set()
    sequences = set()
    for unit in _units_by_start_code(packet) if lengths == 0 else _units_by_length(packet, lengths):
        unit_type, reference = unit[0] & 31, unit[0] >> 5 & 3
        if unit_type in _SLICES:
            kinds.add("idr" if unit_type == _IDR else "reference" if reference else "disposable")
        elif unit_type == _SEQUENCE:
            sequences.add(bytes(unit).rstrip(b"\0"))
    if len(kinds) != 1:
        raise H264Error(f"expected slices of one kind, found {sorted(kinds) or 'none'}")
    return kinds.pop(), frozenset(sequences)


def _units_by_length(packet: memoryview, lengths: int) -> Iterator[memoryview]:
    start = 0
    while start < len(packet):
        first = start + lengths
        start = first + int.from_bytes(packet[start:first], "big")
        if first >= start or start > len(packet):
            raise H264Error("a NAL unit's length does not fit")
        yield packet[first:start]


def _units_by_start_code(packet: memoryview) -> Iterator[bytes]:
    _, *units = bytes(packet).split(b"\0\0\1")
    if not units:
        raise H264Error("no start code")
    return filter(None, units)
