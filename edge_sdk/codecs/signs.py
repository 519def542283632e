"""Random signs that every machine and language can make alike: a counter and a hash, no library.

`hash32` is the `lowbias32` integer hash (Chris Wellons, "Prospecting for hash functions", 2018).
FORMAT.md, section 5.2, has the rule and its test vectors.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

GOLDEN = 0x9E3779B9
"""2**32 divided by the golden ratio: consecutive multiples are spread evenly."""

_MASK = 0xFFFFFFFF
_BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1, bitorder="little")
_SIGN_BITS = _BITS.astype(np.uint32) << np.uint32(31)
"""Shape (256, 8): the float32 sign bits that one byte of the stream asks for."""


def hash32(x: int) -> int:
    """Mix 32 bits; a bijection."""
    x ^= x >> 16
    x = x * 0x7FEB352D & _MASK
    x ^= x >> 15
    x = x * 0x846CA68B & _MASK
    return x ^ x >> 16


def stream_key(*parts: int) -> int:
    """Key of the stream named by `parts`, each below 2**32."""
    key = 0
    for part in parts:
        key = hash32((key + part + GOLDEN) & _MASK)
    return key


def random_words(key: int, *, first: int, count: int) -> Words:
    """Words `first` up to `first + count` of the stream: hash32(number * GOLDEN + key)."""
    words = np.arange(first, first + count, dtype=np.uint32)
    words *= np.uint32(GOLDEN)
    words += np.uint32(key)
    words ^= words >> 16
    words *= np.uint32(0x7FEB352D)
    words ^= words >> 15
    words *= np.uint32(0x846CA68B)
    words ^= words >> 16
    return words


def flip_signs(rows: NDArray[np.float32], key: int, *, first: int) -> None:
    """Negate in place where the stream says so.

    `rows` is C-contiguous with a multiple of 32 elements; its first element is number `first`
    (a multiple of 32) of the stream. Element 32*w + k is negated where bit k of word w is set.
    """
    words = random_words(key, first=first // 32, count=rows.size // 32)
    signs = np.take(_SIGN_BITS, words.astype("<u4", copy=False).view(np.uint8), axis=0, mode="clip")
    bits = rows.view(np.uint32).reshape(signs.shape)
    bits ^= signs
