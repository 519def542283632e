"""The product quantizer's decoder again, from section P.3 of FORMAT.md alone, number by number."""

import math
import struct
import zlib


def plain_product(payload: bytes, examples: int, numbers: int) -> list[list[float]]:
    """Activations of a good payload."""
    at = 1
    mode = payload[0]

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = payload[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    q, groups = varint(), varint()
    sizes = [varint() for _ in range(groups)]
    width = math.ceil(numbers / q)
    count = width * sum(sizes)
    exponent = 0
    if mode & 16:
        reals = list(struct.unpack_from(f"<{count}f", payload, at))
        at += 4 * count
    else:
        (exponent,) = struct.unpack_from("<h", payload, at)
        reals = [h * 2.0**exponent for h in struct.unpack_from(f"<{count}e", payload, at + 2)]
        at += 2 + 2 * count
    vectors = [reals[i : i + width] for i in range(0, count, width)]
    books = [vectors[sum(sizes[:g]) : sum(sizes[: g + 1])] for g in range(groups)]
    indices = _indices(payload[at:], mode & 15, examples * q, max(sizes))
    rows: list[list[float]] = [[0.0] * (q * width) for _ in range(examples)]
    place = 0
    for group in range(groups):
        for row in rows:
            for j in range(group * q // groups, (group + 1) * q // groups):
                row[j * width : (j + 1) * width] = books[group][indices[place]]
                place += 1
    return [row[:numbers] for row in rows]


def _indices(body: bytes, way: int, count: int, alphabet: int) -> list[int]:
    if way == 1:
        digits = max(c for c in range(1, 9) if alphabet**c <= 256)
        octets = zlib.decompress(body, -15)
        return [octets[i // digits] // alphabet ** (i % digits) % alphabet for i in range(count)]
    bits = math.ceil(math.log2(alphabet)) if alphabet > 1 else 0
    plane = math.ceil(count / 8)
    return [
        sum((body[p * plane + i // 8] >> i % 8 & 1) << bits - 1 - p for p in range(bits))
        for i in range(count)
    ]
