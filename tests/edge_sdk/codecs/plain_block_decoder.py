"""A second decoder of the block codecs, written from FORMAT.md, section B: plain loops, no numpy.

It shares nothing with `edge_sdk` but the level table, which is part of the format.
"""

import struct
import zlib
from fractions import Fraction

from edge_sdk.codecs.ladder_table import LEVELS
from tests.edge_sdk.codecs.plain_decoder import (
    ROUNDS_MORE,
    block_sizes,
    is_negative,
    key,
    turn,
)


class Bits:
    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.at = 0

    def number(self, width: int) -> int:
        value = 0
        for place in range(width):
            value |= (self.payload[self.at // 8] >> self.at % 8 & 1) << place
            self.at += 1
        return value

    def planes(self, count: int, width: int) -> list[int]:
        values = [0] * count
        for place in range(width):
            for i in range(count):
                values[i] |= self.number(1) << place
        return values

    def inflated(self, data: bytes) -> tuple[bytes, int]:
        machine = zlib.decompressobj(-15)
        made = machine.decompress(data)
        assert machine.eof
        return made, len(data) - len(machine.unused_data)

    def end(self) -> None:
        assert self.number(-self.at % 8) == 0
        assert self.at == 8 * len(self.payload)


def single(x: Fraction) -> float:
    """x rounded once to binary32; x is a product that binary64 holds."""
    assert Fraction(float(x)) == x
    number: float = struct.unpack("<f", struct.pack("<f", float(x)))[0]
    return number


def rice(bits: Bits, count: int) -> list[int]:
    k = bits.number(5)
    high = []
    for _ in range(count):
        zeros = 0
        while bits.number(1) == 0:
            zeros += 1
        high.append(zeros)
    return [(h << k) + low for h, low in zip(high, bits.planes(count, k), strict=True)]


def flags(bits: Bits, count: int) -> list[bool]:
    m = bits.number(count.bit_length())
    few = 2 * m <= count
    listed = m if few else count - m
    result = [not few] * count
    position = -1
    for gap in rice(bits, listed) if listed else []:
        position += gap + 1
        result[position] = few
    return result


def counts(bits: Bits, count: int) -> list[int]:
    values = [0] * count
    members = list(range(count))
    for _ in range(6):
        if members:
            above = flags(bits, len(members))
            members = [i for i, flag in zip(members, above, strict=True) if flag]
            for i in members:
                values[i] += 1
    for i, rest in zip(members, rice(bits, len(members)) if members else [], strict=True):
        values[i] += rest
    return values


def coefficients(bits: Bits, count: int) -> list[int]:
    if not count:
        return []
    mode = bits.number(3)
    if mode == 0:
        return [-x if x and bits.number(1) else x for x in counts(bits, count)]
    bound, digits = {1: (1, 5), 2: (2, 3), 3: (7, 2), 4: (127, 1)}[mode]
    s = bits.number(5) if mode == 4 else 0
    low = bits.planes(count, s)
    assert bits.number(-bits.at % 8) == 0
    data, taken = bits.inflated(bits.payload[bits.at // 8 :])
    assert len(data) == -(-count // digits)
    bits.at += 8 * taken
    cut = [
        byte // (2 * bound + 1) ** place % (2 * bound + 1) - bound
        for byte in data
        for place in range(digits)
    ][:count]
    edge = [i for i, b in enumerate(cut) if abs(b) == bound]
    for i, more in zip(edge, counts(bits, len(edge)), strict=True):
        cut[i] += more if cut[i] > 0 else -more
    return [b * 2**s + rest for b, rest in zip(cut, low, strict=True)]


def unfold(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


def levels(bits: Bits, count: int, first: int) -> list[int]:
    sent = flags(bits, count)
    k = sum(sent)
    numbers: list[int] = []
    if k:
        mode = bits.number(3)
        if mode < 2:
            numbers = counts(bits, k)
        elif mode < 4:
            numbers = rice(bits, k)
        else:
            data = bytes(bits.number(8) for _ in range(bits.number(20)))
            text, taken = bits.inflated(data)
            assert taken == len(data)
            assert len(text) == k
            numbers = list(text)
        if mode % 2:
            total = 0
            for i, number in enumerate(numbers):
                total += unfold(number)
                numbers[i] = total
    each = iter(numbers)
    return [first + next(each) if flag else 0 for flag in sent]


def exponent_of(x: Fraction) -> int:
    """The p with 2**(p - 1) <= x < 2**p; 0 for 0."""
    p = 0
    while x and x >= Fraction(2) ** p:
        p += 1
    while x and x < Fraction(2) ** (p - 1):
        p -= 1
    return p


def block_values(
    x: list[int], scale: Fraction, number: int, *, purpose: int, seed: int, index: int
) -> list[float]:
    """Section B.6."""
    rounded = [Fraction(struct.unpack("<f", struct.pack("<f", q))[0]) for q in x]
    p = exponent_of(max(abs(q) for q in rounded))
    coarse = [round(q * Fraction(2) ** (6 - p)) for q in rounded]
    q = exponent_of(Fraction(sum(c * c for c in coarse)))
    t = (39 - q) // 2
    v = [round(c * Fraction(2) ** (6 - p + t)) for c in rounded]
    for r in reversed(range(2 + ROUNDS_MORE[len(x)])):
        stream = key(purpose, seed % 2**32, seed // 2**32, index, r)
        v = turn(v)
        v = [-g if is_negative(number + i, stream) else g for i, g in enumerate(v)]
    w = Fraction(single(scale * Fraction(2) ** (p - 6 - t)))
    return [single(g * w) for g in v]


def head(bits: Bits) -> tuple[int, int, Fraction]:
    """Block size, first level, step."""
    n = (64, 256, 4096)[bits.number(2)]
    first_level = bits.number(5)
    e = bits.number(9)
    f = bits.number(8)
    bits.number(8)  # the stated error
    return n, first_level, (2**8 + f) * Fraction(2) ** (e - 256 - 8)


def sent_values(
    bits: Bits, own: int, form: tuple[int, int, Fraction], *, index: int, seed: int
) -> list[list[float]]:
    """Values of `own` blocks (B.5, from the levels on); `form` is the head."""
    n, first_level, step = form
    level = levels(bits, own, first_level)
    order = sorted((i for i in range(own) if level[i]), key=lambda i: (level[i], i))
    values = [[0.0] * n for _ in range(own)]
    column = {64: 1, 256: 2, 4096: 3}[n]
    place = 0
    for group in grouped([level[i] for i in order], n):
        q = coefficients(bits, group * n)
        for k in range(group):
            block = order[place]
            unit = 2**20 if level[block] > 23 else LEVELS[level[block] - 1][column]
            values[block] = block_values(
                q[k * n : k * n + n],
                Fraction(unit, 2**20) * step,
                n * place,
                purpose=0x4B4C4F42,
                seed=seed,
                index=index,
            )
            place += 1
    return values


def grouped(level: list[int], n: int) -> list[int]:
    """Sizes of the groups of sent blocks with these levels."""
    least = max(1, 2**11 // n)
    sizes = []
    at = 0
    while at < len(level):
        end = min(at + least, len(level))
        while end < len(level) and level[end] == level[end - 1]:
            end += 1
        if len(level) - end < least:
            end = len(level)
        sizes.append(end - at)
        at = end
    return sizes


def decode_blockwise(
    payload: bytes, *, dimension: int, index: int, count: int, seed: int
) -> dict[int, float]:
    """Values by coordinate."""
    bits = Bits(payload)
    form = head(bits)
    n = form[0]
    own = len(range(index, -(-dimension // n), count))
    values = sent_values(bits, own, form, index=index, seed=seed)
    bits.end()
    where = [(index + k * count) * n for k in range(len(values))]
    return {
        first + i: value
        for first, block in zip(where, values, strict=True)
        for i, value in enumerate(block)
        if first + i < dimension
    }


def decode_lowrank(
    payload: bytes, *, dimension: int, index: int, count: int, seed: int
) -> tuple[int, list[float]]:
    """First coordinate of the chunk and its values."""
    bits = Bits(payload)
    form = head(bits)
    n = form[0]
    every = -(-dimension // n)
    begin, stop = index * every // count, (index + 1) * every // count
    first, end = begin * n, min(stop * n, dimension)
    heads = []
    for _ in range(bits.number(12)):
        place, rows, columns = (bits.number(23) for _ in range(3))
        heads.append((place, rows, columns, [bits.number(15) for _ in range(bits.number(6))]))
    factors = iter(coefficients(bits, sum((r + c) * len(s) for _, r, c, s in heads)))
    parts = [
        (place, [next(factors) for _ in range(rows)], [next(factors) for _ in range(columns)], s)
        for place, rows, columns, scales in heads
        for s in scales
    ]
    blocks = sent_values(bits, stop - begin, form, index=index, seed=seed)
    bits.end()
    values = [value for block in blocks for value in block][: end - first]
    for place, u, v, code in parts:
        scale = Fraction(struct.unpack("<f", struct.pack("<I", code << 16))[0])
        for i, row in enumerate(u):
            for j, column in enumerate(v):
                at = place + i * len(v) + j
                product = Fraction(single(row * column * scale))
                values[at] = single(Fraction(values[at]) + product)
    return first, values


def decode_eden_entropy(
    payload: bytes, *, dimension: int, index: int, count: int, seed: int
) -> tuple[int, list[float]]:
    """First coordinate of the chunk and its values."""
    bits = Bits(payload)
    sizes = block_sizes(dimension, (4096, 1024, 256, 64)[bits.number(2)])
    bits.number(8)
    begin, end = index * len(sizes) // count, (index + 1) * len(sizes) // count
    start = sum(sizes[:begin])
    mine = sizes[begin:end]
    scaled = flags(bits, len(mine))
    codes = []
    if any(scaled):
        codes.append(bits.number(15))
        for step in rice(bits, sum(scaled) - 1) if sum(scaled) > 1 else []:
            codes.append(codes[-1] + unfold(step))
    q = iter(coefficients(bits, sum(s for s, flag in zip(mine, scaled, strict=True) if flag)))
    bits.end()
    each = iter(codes)
    values: list[float] = []
    number = 0
    for size, flag in zip(mine, scaled, strict=True):
        code = next(each) if flag else 0
        scale = Fraction(struct.unpack("<f", struct.pack("<I", code << 16))[0])
        block = [next(q) if flag else 0 for _ in range(size)]
        values += block_values(block, scale, number, purpose=0x59505254, seed=seed, index=index)
        number += size
    return start, values[: dimension - start]
