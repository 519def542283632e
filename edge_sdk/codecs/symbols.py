"""Quantized coefficients to bits and back, in whichever of five modes suits them.

Mode 0 is significance planes, best where most values are zero. The others write base values, cut
off at plus and minus `bound`, as bytes that hold `digits` of them, through a Huffman code
(`deflate`), and what was cut off as planes: mode 1 five values of at most 1, mode 2 three of at
most 2, mode 3 two of at most 7, mode 4 one of at most 127 after its lowest bits went out as they
are. FORMAT.md, section B.3.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter, Whole
from edge_sdk.codecs.deflate import Code, deflate, inflate
from edge_sdk.codecs.rice import read_counts, read_signs, write_counts, write_signs
from edge_sdk.errors import Corrupt

MOST_MAGNITUDE = 2**30
"""Largest absolute value of a coefficient."""

_MODE_BITS = 3
_SHIFT_BITS = 5
_MOST_SHIFT = 26

Coefficients = NDArray[np.int32]


@dataclasses.dataclass(frozen=True, slots=True)
class Grouping:
    """How many base values share a byte."""

    bound: int
    digits: int

    @property
    def base(self) -> int:
        """Values that one digit can take."""
        return 2 * self.bound + 1

    def join(self, values: Coefficients) -> NDArray[np.uint8]:
        """Bytes of base values, the first one the lowest digit; filled up with zeros."""
        digits = np.zeros(-(-len(values) // self.digits) * self.digits, np.int16)
        np.clip(values, -self.bound, self.bound, out=digits[: len(values)], casting="unsafe")
        digits += self.bound
        columns = digits.reshape(-1, self.digits)
        joined = columns[:, -1].copy()
        for place in range(self.digits - 2, -1, -1):
            joined *= self.base
            joined += columns[:, place]
        return joined.astype(np.uint8)

    def split(self, data: NDArray[np.uint8], count: int) -> NDArray[np.int8]:
        """The first `count` base values of `data`.

        Raises:
            Corrupt: a byte that no values make, or the filling is not zero.
        """
        if len(data) and int(data.max()) >= self.base**self.digits:
            raise Corrupt(f"byte {data.max()} of {self.base**self.digits}")
        values = np.take(self.digits_of, data, axis=0, mode="clip").reshape(-1)
        if values[count:].any():
            raise Corrupt("filling is not zero")
        return values[:count]

    @property
    def digits_of(self) -> NDArray[np.int8]:
        """Base values of every byte, shape (256, digits)."""
        return _DIGITS[self.bound]


GROUPINGS = {1: Grouping(1, 5), 2: Grouping(2, 3), 3: Grouping(7, 2), 4: Grouping(127, 1)}
"""By mode."""


def _digits(grouping: Grouping) -> NDArray[np.int8]:
    powers = grouping.base ** np.arange(grouping.digits)
    return (np.arange(256)[:, np.newaxis] // powers % grouping.base - grouping.bound).astype(
        np.int8
    )


_DIGITS = {grouping.bound: _digits(grouping) for grouping in GROUPINGS.values()}


def write_coefficients(writer: BitWriter, values: Coefficients) -> None:
    """Coefficients of at most `MOST_MAGNITUDE`; none at all take no bits."""
    if not len(values):
        return
    magnitudes = np.abs(values)
    share = np.count_nonzero(magnitudes) / len(values)
    if share < _SPARSE:
        _write_planes(writer, values, magnitudes)
        return
    mode, shift = _grouping_for(magnitudes)
    joined = GROUPINGS[mode].join(values >> shift)
    counts = np.bincount(joined, minlength=256)
    code = Code.of(counts)
    if share < _DENSE or len(values) < _SMALL:
        planes = BitWriter()
        _write_planes(planes, values, magnitudes)
        if planes.size <= code.bits(counts) + shift * len(values):
            writer.append(planes)
            return
    writer.number(mode, _MODE_BITS)
    if mode == 4:
        writer.number(shift, _SHIFT_BITS)
        writer.planes(values, shift)
        magnitudes = np.abs(values >> shift)
    writer.octets(deflate(joined, code))
    bound = GROUPINGS[mode].bound
    write_counts(writer, magnitudes[magnitudes >= bound] - bound)


def read_coefficients(reader: BitReader, count: int) -> Coefficients:
    """`count` coefficients.

    Raises:
        Malformed: the bits end early or break the format.
    """
    if not count:
        return np.zeros(0, np.int32)
    mode = reader.number(_MODE_BITS)
    if mode == 0:
        return _limited(read_signs(reader, read_counts(reader, count)))
    if mode in GROUPINGS:
        return _read_grouped(reader, count, mode)
    raise Corrupt(f"coefficient mode {mode}")


def _read_grouped(reader: BitReader, count: int, mode: int) -> Coefficients:
    grouping = GROUPINGS[mode]
    shift = reader.number(_SHIFT_BITS) if mode == 4 else 0
    if shift > _MOST_SHIFT:
        raise Corrupt(f"shift of {shift} bits")
    low = reader.planes(count, shift) if shift else None
    joined, taken = inflate(reader.octets(), -(-count // grouping.digits))
    reader.skip_octets(taken)
    base = grouping.split(joined, count)
    cut = np.flatnonzero((base == grouping.bound) | (base == -grouping.bound))
    more = read_counts(reader, len(cut))
    values: Coefficients = base.astype(np.int32)
    values[cut] = np.sign(values[cut]) * (more + grouping.bound)
    if low is None:
        return _limited(values)
    return _limited((values.astype(np.int64) << shift) + low)


def _limited(values: Whole | Coefficients) -> Coefficients:
    """The same numbers, none over `MOST_MAGNITUDE`.

    Raises:
        Corrupt: one is.
    """
    if len(values) and max(int(values.max()), -int(values.min())) > MOST_MAGNITUDE:
        raise Corrupt(f"a coefficient is over {MOST_MAGNITUDE}")
    return values.astype(np.int32, copy=False)


_SPARSE = 0.10
"""Below this share of values that are not zero, planes are the shortest."""
_DENSE = 0.20
"""Up to this share planes may be shorter; above it only where a Huffman table does not pay."""
_SMALL = 1 << 12
"""Below so many values, a Huffman table may not pay."""


def _write_planes(writer: BitWriter, values: Coefficients, magnitudes: Coefficients) -> None:
    writer.number(0, _MODE_BITS)
    write_counts(writer, magnitudes)
    write_signs(writer, values)


def _grouping_for(magnitudes: Coefficients) -> tuple[int, int]:
    """The first grouping that cuts off few enough values, and mode 4's shift."""
    for mode, most in ((1, 0.03), (2, 0.08), (3, 0.01)):
        if np.count_nonzero(magnitudes > GROUPINGS[mode].bound) <= most * len(magnitudes):
            return mode, 0
    # Values within about forty units keep nearly all of a Huffman code's gain.
    middle = int(np.partition(magnitudes, len(magnitudes) // 2)[len(magnitudes) // 2])
    return 4, max(0, middle.bit_length() - 5)
