"""The headers of H.264 units: what a damaged one would change in pictures that are decoded.

ffmpeg reads the headers of all pictures. A wrong `frame_num` in one that is skipped would change
the references of later ones, and a wrong picture order count their order. So both are checked.
Names and numbers in parentheses are those of the standard (ITU-T H.264).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

# Profiles whose sequence parameters hold a chroma format (7.3.2.1.1).
_WITH_CHROMA = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)

_HEADER_BYTES = 32
"""The fields that are read lie in as many bytes, whatever their values."""


class UnsuitedError(Exception):
    """ffmpeg has to decode the whole video; the message says why."""


class _Bits:
    """Reads a unit behind its first byte, bit by bit (7.2, 9.1)."""

    def __init__(self, unit: bytes) -> None:
        content = unit[1:].replace(b"\0\0\3", b"\0\0")  # the 3 keeps start codes out
        self._value, self._left = int.from_bytes(content, "big"), 8 * len(content)

    def take(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        self._left -= count
        if self._left < 0:
            raise UnsuitedError("a header is cut off")
        return self._value >> self._left & (1 << count) - 1

    def number(self) -> int:
        """An Exp-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)


@dataclass(frozen=True)
class Slice:
    """What the order and the references of a picture depend on."""

    frame_num: int
    order: int
    """Low bits of its picture order count; 0 where the order is that of decoding."""


@dataclass(frozen=True)
class Sequence:
    """Sequence parameters, as far as they say how to read the header of a slice."""

    frame_num_bits: int
    order_bits: int
    """0: pictures are shown in the order of decoding."""
    planes_bits: int
    frames_only: bool

    @classmethod
    def read(cls, unit: bytes) -> Self:
        """Read `seq_parameter_set_data` (7.3.2.1.1).

        Raises:
            UnsuitedError: cut off, or one of the seldom used ways to number pictures.
        """
        bits = _Bits(unit)
        profile, _, _ = bits.take(8), bits.take(16), bits.number()
        planes_bits = 0
        if profile in _WITH_CHROMA:
            if bits.number() == 3:
                planes_bits = 2 * bits.take(1)
            _ = bits.number(), bits.number(), bits.take(1)
            if bits.take(1):
                raise UnsuitedError("it has scaling matrices")
        frame_num_bits, order_type = bits.number() + 4, bits.number()
        if order_type == 1:
            raise UnsuitedError("its pictures are numbered by expected differences")
        order_bits = bits.number() + 4 if order_type == 0 else 0
        _ = bits.number()
        if bits.take(1):
            raise UnsuitedError("pictures may be left out")
        _ = bits.number(), bits.number()
        return cls(frame_num_bits, order_bits, planes_bits, bool(bits.take(1)))

    def read_slice(self, unit: bytes, *, idr: bool) -> Slice:
        """Read the beginning of `slice_header` (7.3.3).

        Raises:
            UnsuitedError: cut off, or a field of an interlaced picture.
        """
        bits = _Bits(unit[:_HEADER_BYTES])
        _ = bits.number(), bits.number(), bits.number(), bits.take(self.planes_bits)
        frame_num = bits.take(self.frame_num_bits)
        if not self.frames_only and bits.take(1):
            raise UnsuitedError("a picture is a field")
        if idr:
            bits.number()
        return Slice(frame_num, bits.take(self.order_bits))


def is_cabac(unit: bytes) -> bool:
    """Whether picture parameters choose CABAC instead of CAVLC (7.3.2.2).

    Raises:
        UnsuitedError: each picture may have a second order count.
    """
    bits = _Bits(unit)
    _ = bits.number(), bits.number()
    cabac, two_orders = bits.take(1), bits.take(1)
    if two_orders:
        raise UnsuitedError("its fields have an order of their own")
    return bool(cabac)


def check_order(sequence: Sequence, pictures: Iterable[tuple[Slice, str, int]]) -> None:
    """Compare the numbers of all pictures with each other and with their time stamps.

    Args:
        pictures: in decoding order, with their kind and time stamp.

    Raises:
        UnsuitedError: a number is not the expected one.
    """
    frame_nums, orders = 1 << sequence.frame_num_bits, 1 << sequence.order_bits
    reference_num = reference_order = order = 0
    group: list[tuple[int, int]] = []
    for header, kind, pts in pictures:
        if kind == "idr":
            _check_group(group)
            group, reference_num, reference_order, order = [], -1, 0, -1
        # Each picture counts the references before it, since the IDR picture (7.4.3).
        if header.frame_num != (reference_num + 1) % frame_nums:
            raise UnsuitedError("a picture's number is not the next one")
        # The order count is the one with these low bits that is nearest to the reference's (8.2.1).
        half = orders // 2
        nearest = (header.order - reference_order + half) % orders - half + reference_order
        order = nearest if sequence.order_bits else order + 1
        group.append((pts, order))
        if kind != "disposable":
            reference_num, reference_order = header.frame_num, order
    _check_group(group)


def _check_group(group: list[tuple[int, int]]) -> None:
    orders = [order for _, order in sorted(group)]
    if any(after <= before for before, after in pairwise(orders)):
        raise UnsuitedError("the order of pictures is not that of their time stamps")
