"""A second decoder, written from FORMAT.md alone: plain loops and exact integers, no numpy.

It shares nothing with `edge_sdk` but the level tables, which are part of the format.
"""

import math
import struct
from fractions import Fraction

from edge_sdk.codecs.normal import LEVELS

MASK = 0xFFFFFFFF
ROUNDS_MORE = {4096: 0, 1024: 1, 256: 1, 64: 2}


def hash32(x: int) -> int:
    x ^= x >> 16
    x = (x * 0x7FEB352D) & MASK
    x ^= x >> 15
    x = (x * 0x846CA68B) & MASK
    x ^= x >> 16
    return x


def key(*parts: int) -> int:
    k = 0
    for part in parts:
        k = hash32((k + part + 0x9E3779B9) & MASK)
    return k


def is_negative(coordinate: int, stream: int) -> bool:
    word = hash32((coordinate // 32 * 0x9E3779B9 + stream) & MASK)
    return bool(word >> coordinate % 32 & 1)


def single(x: Fraction) -> float:
    """x rounded once to binary32."""
    # struct rounds binary64 to binary32; these tests only hand over products that binary64 holds.
    wide = float(x)
    assert Fraction(wide) == x, "would round twice"
    number: float = struct.unpack("<f", struct.pack("<f", wide))[0]
    return number


def round_even(numerator: int, denominator: int) -> int:
    return round(Fraction(numerator, denominator))


def hadamard(values: list[int]) -> list[int]:
    """H_n times `values`, from the definition H_2n = (H_n, H_n; H_n, -H_n)."""
    n = len(values)
    if n == 1:
        return values
    top, bottom = hadamard(values[: n // 2]), hadamard(values[n // 2 :])
    sums = [a + b for a, b in zip(top, bottom, strict=True)]
    return sums + [a - b for a, b in zip(top, bottom, strict=True)]


def turn(block: list[int]) -> list[int]:
    a = len(block) // 64
    rows = [hadamard(block[64 * i : 64 * i + 64]) for i in range(a)]
    rows = [[round_even(x, 8) for x in row] for row in rows]
    if a > 1:
        root = {4: 2, 16: 4, 64: 8}[a]
        columns = [hadamard([row[j] for row in rows]) for j in range(64)]
        rows = [[round_even(columns[j][i], root) for j in range(64)] for i in range(a)]
    return [x for row in rows for x in row]


def block_sizes(dimension: int, largest: int) -> list[int]:
    sizes, left = [], dimension
    for size in (4096, 1024, 256):
        while size <= largest and left >= size:
            sizes.append(size)
            left -= size
    while left > 0:
        sizes.append(64)
        left -= 64
    return sizes


def decode_eden(
    payload: bytes, parameter: int, *, dimension: int, index: int, count: int, seed: int
) -> tuple[int, list[float]]:
    """First coordinate of the chunk and its values."""
    bits, rounds = parameter % 16, parameter // 16
    (largest,) = struct.unpack_from("<H", payload)
    sizes = block_sizes(dimension, largest)
    begin, end = index * len(sizes) // count, (index + 1) * len(sizes) // count
    start = sum(sizes[:begin])
    mine = sizes[begin:end]
    scales = struct.unpack_from(f"<{len(mine)}f", payload, 4)
    planes = payload[4 + 4 * len(mine) :]
    plane_bytes = sum(mine) // 8
    values: list[float] = []
    number = 0
    for size, scale in zip(mine, scales, strict=True):
        block = []
        for i in range(number, number + size):
            code = 0
            for plane in range(bits):
                code = 2 * code + (planes[plane * plane_bytes + i // 8] >> i % 8 & 1)
            half = 2 ** (bits - 1)
            level = LEVELS[bits][code % half]
            block.append(-level if code >= half else level)
        values += finished(block, scale, rounds, number, seed=seed, index=index)
        number += size
    return start, values[: dimension - start]


def finished(
    block: list[int], scale: float, rounds: int, number: int, *, seed: int, index: int
) -> list[float]:
    """Values of a block of levels whose first coordinate has this number in the chunk."""
    turns = rounds if rounds == 1 else rounds + ROUNDS_MORE[len(block)]
    for r in reversed(range(turns)):
        stream = key(0x4E454445, seed % 2**32, seed // 2**32, index, r)
        block = turn(block)
        block = [-x if is_negative(number + i, stream) else x for i, x in enumerate(block)]
    return [single(Fraction(scale) * Fraction(g, 4096)) for g in block]


def finer_coordinates(size: int, bits: int, share: int, *, seed: int, index: int) -> set[int]:
    """Which coordinates of a block have one bit more."""
    kept = (size * share + 2**15) // 2**16
    if bits == 0:
        kept = max(kept, 8)
    stream = key(0x4B53414D, seed % 2**32, seed // 2**32, index, size)
    words = [hash32((i * 0x9E3779B9 + stream) & MASK) for i in range(size)]
    return set(sorted(range(size), key=lambda i: words[i])[:kept])


def decode_mixed_eden(
    payload: bytes, parameter: int, *, dimension: int, index: int, count: int, seed: int
) -> tuple[int, list[float]]:
    """First coordinate of the chunk and its values."""
    head, share = struct.unpack_from("<BH", payload)
    bits = head // 4
    sizes = block_sizes(dimension, (4096, 1024, 256, 64)[head % 4])
    begin, end = index * len(sizes) // count, (index + 1) * len(sizes) // count
    start, mine = sum(sizes[:begin]), sizes[begin:end]
    if bits < 5:
        halves = struct.unpack_from(f"<{len(mine)}H", payload, 3)
        scales = struct.unpack(
            f"<{len(mine)}f", struct.pack(f"<{len(mine)}I", *(h << 16 for h in halves))
        )
    else:
        scales = struct.unpack_from(f"<{len(mine)}f", payload, 3)
    rest = payload[3 + len(mine) * (2 if bits < 5 else 4) :]
    finer = {n: finer_coordinates(n, bits, share, seed=seed, index=index) for n in set(mine)}
    counts = [sum(len(finer[n]) for n in mine), sum(n - len(finer[n]) for n in mine)]
    codes: list[list[int]] = []
    for width, c in zip((bits + 1, bits), counts, strict=True):
        plane = -(-c // 8)
        planes, rest = (
            [rest[plane * p : plane * (p + 1)] for p in range(width)],
            rest[width * plane :],
        )
        codes.append(
            [int("".join(str(p[i // 8] >> i % 8 & 1) for p in planes) or "0", 2) for i in range(c)]
        )
    assert not rest
    values: list[float] = []
    number = 0
    for size, scale in zip(mine, scales, strict=True):
        block = []
        for i in range(size):
            coarse = i not in finer[size]
            width, code = bits + 1 - coarse, codes[coarse].pop(0)
            half = 2 ** (width - 1) if width else 1
            level = LEVELS[width][code % half] if width else 0
            block.append(-level if code >= half else level)
        values += finished(block, scale, parameter // 16, number, seed=seed, index=index)
        number += size
    return start, values[: dimension - start]


def decode_float16(payload: bytes) -> list[float]:
    exponent, _ = struct.unpack_from("<hH", payload)
    halves = struct.unpack_from(f"<{(len(payload) - 4) // 2}e", payload, 4)
    singles = struct.pack(f"<{len(halves)}f", *(math.ldexp(h, exponent) for h in halves))
    return decode_float32(singles)


def decode_float32(payload: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(payload) // 4}f", payload))
