"""A second decoder of the sparse codecs, from FORMAT.md part S alone: plain loops, no numpy.

Shares nothing with `edge_sdk` and assumes good payloads: it checks no limits.
"""

import math
import struct

from tests.edge_sdk.codecs.plain_decoder import block_sizes, hash32, is_negative, key, turn


def single(x: float) -> float:
    """x rounded to binary32."""
    number: float = struct.unpack("<f", struct.pack("<f", x))[0]
    return number


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def unpack(self, form: str) -> tuple[float, ...]:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def u8(self) -> int:
        return int(self.unpack("B")[0])

    def u32(self) -> int:
        return int(self.unpack("I")[0])

    def varint(self) -> int:
        byte = self.u8()
        return byte if byte < 128 else byte - 128 + 128 * self.varint()

    def bits(self, count: int) -> list[int]:
        start, self.at = 8 * self.at, self.at + (count + 7) // 8
        return [self.data[i // 8] >> i % 8 & 1 for i in range(start, start + count)]

    def prefixes(self, count: int) -> list[int]:
        found: list[int] = []
        bit, run = 8 * self.at, 0
        while len(found) < count:
            if self.data[bit // 8] >> bit % 8 & 1:
                found.append(run)
                run = 0
            else:
                run += 1
            bit += 1
        self.at = (bit + 7) // 8
        return found


def numbers(data: Bytes, count: int) -> list[int]:
    if count == 0:
        return []
    mode = data.u8()
    if mode == 128:
        return [0] * count
    prefixes = data.prefixes(count)
    k = mode % 64
    widths = [k if mode < 64 else k + p for p in prefixes]
    string = iter(data.bits(sum(widths)))
    remainders = [0] * count
    for plane in range(max(widths)):
        for i, width in enumerate(widths):
            if width > plane:
                remainders[i] += next(string) << plane
    if mode < 64:
        return [p * 2**k + r for p, r in zip(prefixes, remainders, strict=True)]
    return [2**w + r - 2**k for w, r in zip(widths, remainders, strict=True)]


def positions(data: Bytes, count: int) -> list[int]:
    found, last = [], -1
    for gap in numbers(data, count):
        last += gap + 1
        found.append(last)
    return found


def reals(data: Bytes, count: int, width: int) -> list[float]:
    if width == 32:
        return list(data.unpack(f"{count}f"))
    exponent = int(data.unpack("h")[0])
    return [single(h * 2.0**exponent) for h in data.unpack(f"{count}e")]


def subset(data: Bytes, size: int) -> list[int]:
    count = data.varint()
    if 2 * count <= size:
        return positions(data, count)
    others = set(positions(data, size - count))
    return [i for i in range(size) if i not in others]


def levels(data: Bytes, n: int) -> dict[int, int]:
    where = subset(data, n)
    if not where:
        return {}
    found = dict.fromkeys(where, 1)
    survivors = where
    for _ in range(data.u8()):
        survivors = [survivors[i] for i in subset(data, len(survivors))]
        for i in survivors:
            found[i] += 1
    for i, more in zip(survivors, numbers(data, len(survivors)), strict=True):
        found[i] += more
    for i, bit in zip(where, data.bits(len(where)), strict=True):
        found[i] = -found[i] if bit else found[i]
    return found


def topk(data: Bytes, n: int, width: int, _: int, __: int) -> list[float]:
    count = data.u32()
    values = [0.0] * n
    if count:
        where = positions(data, count)
        for i, value in zip(where, reals(data, count, width), strict=True):
            values[i] = value
    return values


def randomk(data: Bytes, n: int, width: int, seed: int, index: int) -> list[float]:
    count = data.u32()
    values = [0.0] * n
    stream = key(0x4B444E52, seed % 2**32, seed // 2**32, index)
    for j, value in enumerate(reals(data, count, width)):
        a, b = j * n // count, (j + 1) * n // count
        word = hash32((j * 0x9E3779B9 + stream) % 2**32)
        values[a + word * (b - a) // 2**32] = single(value * (b - a))
    return values


def sign(data: Bytes, n: int, _: int, __: int, ___: int) -> list[float]:
    scale = data.unpack("f")[0]
    return [-scale if bit else scale for bit in data.bits(n)] if scale else [0.0] * n


def huffman(data: Bytes, alphabet: int, count: int) -> list[int]:
    lengths = [data.u8() for _ in range(alphabet)]
    words: dict[str, int] = {}
    word, before = -1, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(lengths)):
        word = (word + 1) << (length - before)
        before = length
        words[f"{word:0{length}b}"] = symbol
    prefixes = [""] * count
    while any(prefix not in words for prefix in prefixes):
        unfinished = [i for i, prefix in enumerate(prefixes) if prefix not in words]
        for i, bit in zip(unfinished, data.bits(len(unfinished)), strict=True):
            prefixes[i] += str(bit)
    return [words[prefix] for prefix in prefixes]


def fedzip(data: Bytes, n: int, encoding: int, _: int, __: int) -> list[float]:
    assert data.u8() == encoding
    values: list[float] = []
    while len(values) < n:
        count, alphabet = data.varint(), data.u8()
        centroids = data.unpack(f"{alphabet}f")
        labels = [0] * count
        if alphabet > 1 and encoding == 0:
            labels = huffman(data, alphabet, count)
        elif alphabet > 1:
            common = data.u8()
            labels = [common] * count
            for label in range(alphabet):
                if label != common:
                    listed = data.varint()
                    found = (
                        positions(data, listed) if encoding == 2 else addresses(data, listed, count)
                    )
                    for i in found:
                        labels[i] = label
        values += [centroids[label] for label in labels]
    return values


def addresses(data: Bytes, count: int, size: int) -> list[int]:
    width = (size - 1).bit_length()
    string = data.bits(width * count)
    return [sum(string[w * count + i] << w for w in range(width)) for i in range(count)]


def deadzone(data: Bytes, n: int, _: int, __: int, ___: int) -> list[float]:
    step, first, others = data.unpack("fbb")
    values = [0.0] * n
    for i, level in levels(data, n).items():
        size = abs(level) + (first if abs(level) == 1 else others) / 256
        values[i] = single(step * size if level > 0 else -step * size)
    return values


def qsgd(data: Bytes, n: int, steps: int, _: int, __: int) -> list[float]:
    bucket = int(data.unpack("H")[0])
    norms = data.unpack(f"{-(-n // bucket)}f")
    values = [0.0] * n
    for i, level in levels(data, n).items():
        values[i] = single(norms[i // bucket] * level / steps)
    return values


def small(data: Bytes, count: int) -> list[int]:
    shift, planes = data.u8(), data.u8()
    high = [0] * count
    survivors = list(range(count))
    for _ in range(planes):
        survivors = [survivors[i] for i in subset(data, len(survivors))]
        for i in survivors:
            high[i] += 1
    for i, more in zip(survivors, numbers(data, len(survivors)), strict=True):
        high[i] += more
    string = data.bits(shift * count)
    return [
        (high[i] << shift) + sum(string[plane * count + i] << plane for plane in range(shift))
        for i in range(count)
    ]


def turned_back(block: list[float], first: int, rotation: int) -> list[float]:
    if not any(block):
        return block
    top = math.frexp(max(abs(x) for x in block))[1]
    energy = sum(round(math.ldexp(x, 6 - top)) ** 2 for x in block)
    exponent = top - 6 - (39 - energy.bit_length()) // 2
    whole = [round(math.ldexp(x, -exponent)) for x in block]
    for r in (1, 0):
        stream = key(0x54495244, rotation, r)
        whole = [-x if is_negative(first + i, stream) else x for i, x in enumerate(turn(whole))]
    return [single(math.ldexp(g, exponent)) for g in whole]


def decode_dithered(
    payload: bytes, *, dimension: int, index: int, count: int, seed: int
) -> list[float]:
    """The values of the coordinates of one chunk of codec 22."""
    data = Bytes(payload)
    head, rotation = data.u32(), data.u32()
    largest = head % 2**16  # then the stated error
    step = data.unpack("f")[0]
    sizes = block_sizes(dimension, largest)
    begin, end = index * len(sizes) // count, (index + 1) * len(sizes) // count
    first, mine = sum(sizes[:begin]), sizes[begin:end]
    values = [0.0] * sum(mine)
    if step:
        kinds = small(data, len(mine))
        of = [kind for kind, size in zip(kinds, mine, strict=True) for _ in range(size)]
        stream = key(0x48545244, seed % 2**32, seed // 2**32)
        words = [hash32(((first + i) * 0x9E3779B9 + stream) % 2**32) for i in range(len(values))]
        phases = [min(3, abs(word - 2**31) // 2**29) for word in words]
        for wanted in sorted({(k, p) for k, p in zip(of, phases, strict=True) if k}):
            where = [i for i in range(len(values)) if (of[i], phases[i]) == wanted]
            for i, m in zip(where, small(data, len(where)), strict=True):
                level = (m + 1) // 2 if m % 2 else -m // 2
                level = level if words[i] >= 2**31 else -level
                values[i] = single((level - (words[i] / 2**32 - 0.5)) * step)
    assert data.at == len(payload), "bytes left over"
    out: list[float] = []
    for size in mine:
        out += turned_back(values[len(out) : len(out) + size], first + len(out), rotation)
    return out[: dimension - first]


DECODERS = {16: topk, 17: randomk, 18: sign, 19: fedzip, 20: deadzone, 21: qsgd}


def decode(
    payload: bytes,
    *,
    codec: int,
    parameter: int,
    dimension: int,
    index: int,
    count: int,
    seed: int,
) -> list[float]:
    """The values of the coordinates of one chunk."""
    data = Bytes(payload)
    n = (index + 1) * dimension // count - index * dimension // count
    values = DECODERS[codec](data, n, parameter, seed, index)
    assert data.at == len(payload), "bytes left over"
    return values
