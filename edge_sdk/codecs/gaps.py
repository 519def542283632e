"""Whole numbers in few bits: Rice and exponential-Golomb codes, whichever is shorter.

Both write a number as a prefix in unary and a remainder in binary; they differ in how the prefix
grows (Rice: linearly, for numbers of one scale; exponential-Golomb: with the logarithm, for numbers
of many scales; its order 0 on v is Elias' gamma code of v + 1). All prefixes stand together and so
do all remainders, one bit plane after another, so that both directions are whole-array steps.
Specified in `FORMAT.md`, section S.1. Positions are coded as the gaps between them.

Sources: Rice 1979; Elias 1975; Teuhola 1978 (exponential-Golomb).
"""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor, pack_bits
from edge_sdk.errors import Corrupt, Truncated

Whole = NDArray[np.int64]

GOLOMB = 64
"""Mode bytes from here on are exponential-Golomb of order mode - 64; below 32: Rice."""

ALL_ZERO = 128
"""Mode byte of numbers that are all zero: nothing follows."""

MAX_PARAMETER = 31
MAX_NUMBER = 2**32 - 1

_SAMPLE = 4096
"""Numbers looked at to choose a mode."""

_ONES = np.array([byte.bit_count() for byte in range(256)], np.uint8)


def write_positions(positions: Whole) -> bytes:
    """Strictly increasing positions from 0 on, as the gaps between them."""
    return write_numbers(np.diff(positions, prepend=-1) - 1)


def read_positions(cursor: Cursor, count: int, *, span: int) -> Whole:
    """`count` strictly increasing positions below `span`.

    Raises:
        Malformed: the bytes end early, or a position is `span` or more.
    """
    if count > span:
        raise Corrupt(f"{count} positions in {span} coordinates")
    gaps = read_numbers(cursor, count, below=span)
    positions = np.cumsum(gaps + 1) - 1
    if count and positions[-1] >= span:
        raise Corrupt(f"position {positions[-1]} of {span} coordinates")
    return positions


def write_numbers(numbers: Whole) -> bytes:
    """Whole numbers, 0 up to `MAX_NUMBER`; empty for no numbers. The count goes elsewhere."""
    if not len(numbers):
        return b""
    if not numbers.any():
        return bytes([ALL_ZERO])
    mode = _shortest_mode(numbers[:: max(len(numbers) // _SAMPLE, 1)])
    prefixes, remainders, widths = _split(numbers, mode)
    ends = np.cumsum(prefixes + 1)
    unary = np.zeros(int(ends[-1]), np.uint8)
    unary[ends - 1] = 1
    planes = [
        ((remainders[widths > plane] >> plane) & 1).astype(np.uint8)
        for plane in range(int(widths.max()))
    ]
    binary = pack_bits(np.concatenate(planes)) if planes else b""
    return bytes([mode]) + pack_bits(unary) + binary


def read_numbers(cursor: Cursor, count: int, *, below: int) -> Whole:
    """`count` whole numbers, each less than `below` (at most 2**32).

    Raises:
        Malformed: the bytes end early, the mode is unknown, or a number is too large.
    """
    if not count:
        return np.zeros(0, np.int64)
    mode = cursor.unsigned(1)
    if mode == ALL_ZERO:
        return np.zeros(count, np.int64)
    parameter = mode % GOLOMB
    if mode > ALL_ZERO or parameter > MAX_PARAMETER:
        raise Corrupt(f"number mode {mode}")
    prefixes = _read_prefixes(cursor, count)
    if mode < GOLOMB:
        widths = np.full(count, parameter, np.int64)
    elif int(prefixes.max()) + parameter > 32:
        raise Corrupt("a number has more than 32 bits")
    else:
        widths = prefixes + parameter
    remainders = _read_planes(cursor, widths)
    if mode < GOLOMB:
        numbers = (prefixes << parameter) + remainders
    else:
        numbers = (np.int64(1) << widths) + remainders - (1 << parameter)
    if int(numbers.max()) >= below:
        raise Corrupt(f"number {numbers.max()}, must be below {below}")
    return numbers


def _split(numbers: Whole, mode: int) -> tuple[Whole, Whole, Whole]:
    """Prefix, remainder and the remainder's width in bits, of every number."""
    parameter = mode % GOLOMB
    if mode < GOLOMB:
        return numbers >> parameter, numbers, np.full(len(numbers), parameter, np.int64)
    raised = numbers + (1 << parameter)
    widths = _bit_lengths(raised) - 1
    return widths - parameter, raised, widths


def _bit_lengths(numbers: Whole) -> Whole:
    """Bits of each number from 1 to 2**53; exact, since float64 holds such numbers exactly."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)


def _shortest_mode(numbers: Whole) -> int:
    """The mode that needs the fewest bits, the lowest of equals.

    Rice parameters are tried around the logarithm of the mean, where the best one lies for
    numbers of one scale; exponential-Golomb orders from 0 up to it.
    """
    middle = int(numbers.sum() // len(numbers)).bit_length()
    rice = range(max(0, middle - 2), min(middle + 2, MAX_PARAMETER + 1))
    bits = {mode: _rice_bits(numbers, mode) for mode in rice}
    bits |= {GOLOMB + order: _golomb_bits(numbers, order) for order in range(min(middle + 1, 24))}
    return min(bits, key=lambda mode: (bits[mode], mode))


def _rice_bits(numbers: Whole, parameter: int) -> int:
    return int((numbers >> parameter).sum()) + len(numbers) * (parameter + 1)


def _golomb_bits(numbers: Whole, order: int) -> int:
    widths = _bit_lengths(numbers + (1 << order)) - 1
    return 2 * int(widths.sum()) + len(numbers) * (1 - order)


def _read_prefixes(cursor: Cursor, count: int) -> Whole:
    """`count` unary numbers: as many zero bits as the number says, then a one bit."""
    bits = np.unpackbits(
        np.frombuffer(cursor.take(_prefix_bytes(cursor, count)), np.uint8), bitorder="little"
    )
    ends = np.flatnonzero(bits)
    if len(ends) > count:
        raise Corrupt("padding bits are set")
    return np.diff(ends, prepend=-1) - 1


def _prefix_bytes(cursor: Cursor, count: int) -> int:
    """Bytes until `count` one bits have passed, looked for in windows of growing size."""
    window = count // 4 + 64
    while True:
        ones = np.cumsum(_ONES[np.frombuffer(cursor.peek(window), np.uint8)], dtype=np.int64)
        if len(ones) and ones[-1] >= count:
            return int(np.searchsorted(ones, count)) + 1
        if window >= cursor.left:
            raise Truncated(f"{count} numbers, the bytes hold fewer prefixes")
        window *= 2


def _read_planes(cursor: Cursor, widths: Whole) -> Whole:
    """Remainders of the given widths, from bit planes, lowest plane first."""
    bits = cursor.bits(int(widths.sum()))
    remainders = np.zeros(len(widths), np.int64)
    at = 0
    for plane in range(int(widths.max())):
        wide = np.flatnonzero(widths > plane)
        remainders[wide] |= bits[at : at + len(wide)].astype(np.int64) << plane
        at += len(wide)
    return remainders
