"""What an H.264 packet says of itself, without decoding it: can pictures do without it?

Two guarantees of the standard (ITU-T H.264) are used, and nothing else:

- `nal_ref_idc` 0: no other picture refers to this one (7.4.1);
- an IDR picture: nothing from here on refers to anything before it (3.69, 8.2.1).
"""

from collections.abc import Iterator
from typing import Literal

Kind = Literal["idr", "reference", "disposable"]

_IDR = 5
_SLICES = (1, 2, 5)
"""NAL units with coded pictures: a slice, the first partition of one, a slice of an IDR picture."""
_SEQUENCE = 7


class H264Error(ValueError):
    """Bytes that are not a sequence of NAL units with a picture."""


def length_size(extradata: bytes | None) -> int:
    """Bytes of the length in front of each NAL unit, 1..4; 0 where start codes part them."""
    return (extradata[4] & 3) + 1 if extradata and len(extradata) > 4 and extradata[0] == 1 else 0


def describe(packet: memoryview, lengths: int) -> tuple[Kind, frozenset[bytes]]:
    """Kind of a packet's picture, and the sequence parameter sets that come with it.

    Args:
        packet: one access unit.
        lengths: see `length_size`.

    Raises:
        H264Error: the packet is damaged, or holds no picture.
    """
    kinds: set[Kind] = set()
    sequences = set()
    for unit in _parted_by_start_codes(packet) if lengths == 0 else _measured(packet, lengths):
        kind = unit[0] & 31
        if kind in _SLICES:
            disposable = unit[0] >> 5 & 3 == 0
            kinds.add("idr" if kind == _IDR else "disposable" if disposable else "reference")
        elif kind == _SEQUENCE:
            sequences.add(bytes(unit).rstrip(b"\0"))
    if len(kinds) != 1:
        raise H264Error(f"expected slices of one kind, found {sorted(kinds) or 'none'}")
    return kinds.pop(), frozenset(sequences)


def _measured(packet: memoryview, lengths: int) -> Iterator[memoryview]:
    start = 0
    while start < len(packet):
        first = start + lengths
        start = first + int.from_bytes(packet[start:first], "big")
        if first >= start or start > len(packet):
            raise H264Error("a NAL unit's length does not fit")
        yield packet[first:start]


def _parted_by_start_codes(packet: memoryview) -> Iterator[memoryview]:
    content = bytes(packet)
    first = content.find(b"\0\0\1") + 3
    if first < 3:
        raise H264Error("no start code")
    while first < len(content):
        following = content.find(b"\0\0\1", first)
        end = len(content) if following < 0 else following
        if end > first:
            yield packet[first:end]
        first = end + 3
