"""Small whole numbers as significance planes: who is not zero, who of those is above one, etc.

A plane says which members of a set have a property. It codes the rarer of "has it" and "has it
not" as the gaps between its positions, in Rice's code: the gap's high part in unary, `parameter`
low bits in binary. Parts of one kind stand together, so both directions are whole-array steps:
a running sum and `packbits`, `unpackbits` and `flatnonzero`. No table is sent, nothing is assumed
about the distribution, and the cost is one to two percent above the entropy up to two bits per
value. FORMAT.md, section B.2. Source of the code: Rice 1979.
"""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, Bits, BitWriter, Whole
from edge_sdk.errors import Corrupt

PLANES = 6
"""Planes before what is left of the few large numbers is coded as it is."""

MOST_PARAMETER = 31
_PARAMETER_BITS = 5

MOST_NUMBER = 2**32 - 1
MOST_COUNT = 2**30
"""Largest count that anything here needs, so that counts are read into 32 bits."""

Flags = NDArray[np.bool_]
Counts = NDArray[np.int32]


def write_flags(writer: BitWriter, flags: Flags) -> None:
    """Which of `flags` are set: their number, then the positions of the rarer kind."""
    count = len(flags)
    ones = int(np.count_nonzero(flags))
    writer.number(ones, count.bit_length())
    rare = np.flatnonzero(flags if 2 * ones <= count else ~flags)
    if len(rare):
        write_rice(writer, np.diff(rare, prepend=-1) - 1)


def read_flags(reader: BitReader, count: int) -> Flags:
    """`count` flags.

    Raises:
        Malformed: the bits end early or break the format.
    """
    rare, kind = _read_rare(reader, count)
    flags = np.full(count, not kind)
    flags[rare] = kind
    return flags


def read_members(reader: BitReader, count: int) -> Whole:
    """Positions of the set ones of `count` flags, ascending.

    Raises:
        Malformed: the bits end early or break the format.
    """
    rare, kind = _read_rare(reader, count)
    if kind:
        return rare
    others = np.ones(count, np.bool_)
    others[rare] = False
    return np.flatnonzero(others)


def _read_rare(reader: BitReader, count: int) -> tuple[Whole, bool]:
    """Positions of the rarer kind of flags, and which kind that is."""
    ones = reader.number(count.bit_length())
    if ones > count:
        raise Corrupt(f"{ones} of {count} flags are set")
    few = 2 * ones <= count
    rare = ones if few else count - ones
    if not rare:
        return np.zeros(0, np.int64), few
    gaps = read_rice(reader, rare, most_sum=count - rare)
    gaps += 1
    places = np.cumsum(gaps)
    places -= 1
    return places, few


def write_rice(writer: BitWriter, numbers: Whole) -> None:
    """At least one number from 0 to `MOST_NUMBER`: parameter, high parts, low bits."""
    parameter = _best_parameter(numbers)
    writer.number(parameter, _PARAMETER_BITS)
    ends = np.cumsum((numbers >> parameter) + 1)
    unary = np.zeros(int(ends[-1]), np.uint8)
    unary[ends - 1] = 1
    writer.bits(unary)
    writer.planes(numbers, parameter)


def read_rice(reader: BitReader, count: int, *, most_sum: int) -> Whole:
    """`count` numbers (at least one), whose sum is at most `most_sum`.

    Raises:
        Malformed: the bits end early, or the sum is larger.
    """
    parameter = reader.number(_PARAMETER_BITS)
    ends = reader.ones(count, most=count + (most_sum >> parameter))
    high = np.diff(ends, prepend=-1) - 1
    numbers: Whole = (high << parameter) + reader.planes(count, parameter)
    if int(numbers.sum()) > most_sum:
        raise Corrupt(f"numbers add up to {numbers.sum()}, limit {most_sum}")
    return numbers


def write_counts(writer: BitWriter, values: NDArray[np.integer]) -> None:
    """Whole numbers from 0 to `MOST_COUNT`, mostly small; none at all take no bits."""
    rest = values
    for _ in range(PLANES):
        if not len(rest):
            return
        above = rest > 0
        write_flags(writer, above)
        rest = rest[above] - 1
    if len(rest):
        write_rice(writer, rest.astype(np.int64))


def read_counts(reader: BitReader, count: int) -> Counts:
    """`count` numbers of at most `MOST_COUNT`.

    Raises:
        Malformed: the bits end early or break the format.
    """
    values = np.zeros(count, np.int32)
    members: Whole | None = None  # None: all of them
    for plane in range(1, PLANES + 1):
        left = count if members is None else len(members)
        if not left:
            return values
        above = read_members(reader, left)
        members = above if members is None else members[above]
        values[members] = plane
    if members is not None and len(members):
        rest = read_rice(reader, len(members), most_sum=len(members) * MOST_NUMBER)
        if int(rest.max()) > MOST_COUNT - PLANES:
            raise Corrupt(f"number {rest.max()}, limit {MOST_COUNT - PLANES}")
        values[members] += rest.astype(np.int32)
    return values


def write_signs(writer: BitWriter, values: NDArray[np.integer]) -> None:
    """One bit for every value that is not zero: is it negative?"""
    bits: Bits = (values[values != 0] < 0).view(np.uint8)
    writer.bits(bits)


def read_signs(reader: BitReader, magnitudes: Counts) -> Counts:
    """`magnitudes` with their signs, changed in place.

    Raises:
        Truncated: the bits end early.
    """
    members = np.flatnonzero(magnitudes != 0)  # of flags it is several times faster
    negative = members[reader.bits(len(members)).view(np.bool_)]
    magnitudes[negative] = -magnitudes[negative]
    return magnitudes


def _best_parameter(numbers: Whole) -> int:
    """The lowest parameter with the fewest bits.

    The number of bits is convex in the parameter, and the best one lies near the logarithm of the
    mean.
    """
    total = int(numbers.sum())
    middle = min((total // len(numbers)).bit_length(), MOST_PARAMETER)
    around = range(max(0, middle - 2), min(middle + 1, MOST_PARAMETER) + 1)
    bits = {p: len(numbers) * p + int((numbers >> p).sum()) for p in around}
    return min(bits, key=lambda p: (bits[p], p))
