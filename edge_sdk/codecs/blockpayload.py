"""One chunk of blocks to bytes and back. FORMAT.md, section B.5."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter
from edge_sdk.codecs.deflate import deflate, inflate
from edge_sdk.codecs.ladder import BLOCK_SIZES, MOST_LEVEL
from edge_sdk.codecs.rice import (
    read_counts,
    read_flags,
    read_rice,
    write_counts,
    write_flags,
    write_rice,
)
from edge_sdk.codecs.stated import ERROR_BITS
from edge_sdk.codecs.symbols import read_coefficients, write_coefficients
from edge_sdk.errors import Corrupt

FRACTION_BITS = 8
_STEP_BIAS = 256
_MOST_STEP = 2.0**120
GROUP = 1 << 11
"""Coefficients that a group has at least, where there are so many."""

_MODE_BITS = 3
_LENGTH_BITS = 20
_HUFFMAN_PAYS = 64
"""Levels below which a Huffman table is never shorter."""

_GROUP_SHARE = 0.03
_TABLE_BITS, _FIELD_BITS = 520.0, 45.0
_PLANES_UP_TO = 0.7
"""Bits per coefficient; see `expected_bits`."""

Levels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """What a payload begins with: 32 bits."""

    block: int
    """Coordinates of a block, one of `BLOCK_SIZES`."""
    lowest: int
    """First level that is sent, 1 up to 31."""
    fraction: int
    exponent: int
    """The step is (2**8 + fraction) * 2**(exponent - 8)."""
    error_code: int = 0
    """The sender's expected error of the whole update (`stated`)."""

    @classmethod
    def near(cls, block: int, lowest: int, step: float, *, error_code: int) -> "Head":
        """The head whose step is closest to `step`, which is 2**-200 to 2**100."""
        mantissa, exponent = np.frexp(step)
        whole = int(np.rint(mantissa * 2.0 ** (FRACTION_BITS + 1)))
        if whole >> (FRACTION_BITS + 1):  # rounded up to the next power of two
            whole, exponent = whole >> 1, exponent + 1
        return cls(block, lowest, whole % (1 << FRACTION_BITS), int(exponent) - 1, error_code)

    @property
    def step(self) -> float:
        """The update's quantization step."""
        return float(np.ldexp((1 << FRACTION_BITS) + self.fraction, self.exponent - FRACTION_BITS))

    def write(self, writer: BitWriter) -> None:
        """32 bits."""
        writer.number(BLOCK_SIZES.index(self.block), 2)
        writer.number(self.lowest, 5)
        writer.number(self.exponent + _STEP_BIAS, 9)
        writer.number(self.fraction, FRACTION_BITS)
        writer.number(self.error_code, ERROR_BITS)

    @classmethod
    def read(cls, reader: BitReader) -> "Head":
        """The next 32 bits.

        Raises:
            Malformed: the bits end early or are outside the format.
        """
        place, lowest = reader.number(2), reader.number(5)
        exponent, fraction = reader.number(9) - _STEP_BIAS, reader.number(FRACTION_BITS)
        if place >= len(BLOCK_SIZES) or not lowest:
            raise Corrupt("head of a block payload is outside the format")
        head = cls(BLOCK_SIZES[place], lowest, fraction, exponent, reader.number(ERROR_BITS))
        if head.step > _MOST_STEP:
            raise Corrupt(f"step of {head.step:g}")
        return head


def write_levels(writer: BitWriter, levels: Levels, lowest: int) -> None:
    """Who is sent, then how far each is above the lowest level, the shortest of six ways."""
    sent = levels > 0
    write_flags(writer, sent)
    if not sent.any():
        return
    above = levels[sent].astype(np.int64) - lowest
    trials = [
        _level_trial(mode, numbers)
        for mode, numbers in enumerate(2 * [above, fold(np.diff(above, prepend=0))])
    ]
    trials += [
        _level_trial(mode, numbers)
        for mode, numbers in ((4, above), (5, fold(np.diff(above, prepend=0))))
        if len(above) >= _HUFFMAN_PAYS
    ]
    writer.append(min(trials, key=lambda trial: trial.size))


def read_levels(reader: BitReader, count: int, lowest: int) -> Levels:
    """Levels of `count` blocks.

    Raises:
        Malformed: the bits end early or break the format.
    """
    members = np.flatnonzero(read_flags(reader, count))
    levels = np.zeros(count, np.uint8)
    if not len(members):
        return levels
    mode = reader.number(_MODE_BITS)
    if mode in (0, 1):
        numbers = read_counts(reader, len(members)).astype(np.int64)
    elif mode in (2, 3):
        numbers = read_rice(reader, len(members), most_sum=2 * MOST_LEVEL * len(members))
    elif mode in (4, 5):
        numbers = _read_huffman(reader, len(members))
    else:
        raise Corrupt(f"level mode {mode}")
    if mode % 2:
        numbers = np.cumsum(unfold(numbers))
    numbers += lowest
    if int(numbers.min()) < lowest or int(numbers.max()) > MOST_LEVEL:
        raise Corrupt("a block's level is outside the format")
    levels[members] = numbers
    return levels


def _level_trial(mode: int, numbers: NDArray[np.int64]) -> BitWriter:
    """`numbers` in one of the six ways."""
    trial = BitWriter()
    trial.number(mode, _MODE_BITS)
    if mode in (0, 1):
        write_counts(trial, numbers)
    elif mode in (2, 3):
        write_rice(trial, numbers)
    else:
        data = deflate(numbers.astype(np.uint8))
        trial.number(len(data), _LENGTH_BITS)
        trial.bits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little"))
    return trial


def _read_huffman(reader: BitReader, count: int) -> NDArray[np.int64]:
    """Numbers below 256 as a deflate stream of stated length, not aligned to bytes."""
    size = reader.number(_LENGTH_BITS)
    data = np.packbits(reader.bits(8 * size), bitorder="little")
    numbers, taken = inflate(data, count)
    if taken != size:
        raise Corrupt(f"deflate stream of {taken} bytes, stated {size}")
    return numbers.astype(np.int64)


def groups(levels: Levels, block: int) -> Iterator[tuple[int, int]]:
    """First and end of every group of sent blocks that are coded together.

    `levels` are those of the sent blocks, ascending. A group ends with its level once it holds
    `GROUP` coefficients, unless fewer than that would remain.
    """
    least = max(1, GROUP // block)
    first = 0
    while first < len(levels):
        end = int(np.searchsorted(levels, levels[min(first + least, len(levels)) - 1], "right"))
        if len(levels) - end < least:
            end = len(levels)
        yield first, end
        first = end


def expected_bits(bits: float, size: int) -> float:
    """About what a group of blocks of nearly one level takes.

    Its share beyond the entropy is what was measured on updates of small networks: three percent,
    and not more than a Huffman table or, where planes are shorter, a few fields.

    Args:
        bits: entropy of its coefficients.
        size: their number.
    """
    table = _TABLE_BITS if bits > _PLANES_UP_TO * size else _FIELD_BITS
    return bits + min(_GROUP_SHARE * bits, table)


def write_groups(
    writer: BitWriter, coefficients: NDArray[np.int32], levels: Levels, block: int
) -> None:
    """Coefficients of sent blocks, ascending by level."""
    for first, end in groups(levels, block):
        write_coefficients(writer, coefficients[first * block : end * block])


def read_groups(reader: BitReader, levels: Levels, block: int) -> NDArray[np.int32]:
    """Coefficients of all sent blocks; `levels` as for `groups`.

    Raises:
        Malformed: the bits end early or break the format.
    """
    coefficients = np.empty(len(levels) * block, np.int32)
    for first, end in groups(levels, block):
        coefficients[first * block : end * block] = read_coefficients(reader, (end - first) * block)
    return coefficients


def fold(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, -1, 1, -2, 2 and so on to 0, 1, 2, 3, 4 and so on."""
    return np.where(steps < 0, -2 * steps - 1, 2 * steps)


def unfold(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Undo `_fold`."""
    return (numbers >> 1) ^ -(numbers & 1)
