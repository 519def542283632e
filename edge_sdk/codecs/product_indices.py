"""Numbers below a small bound to bytes: bit planes, or a Huffman code over several at once.

FORMAT.md, section P.3. The code's bytes hold as many numbers as fit, so that even two centroids,
one of them rare, take less than a bit each.
"""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.deflate import Code, deflate, inflate
from edge_sdk.codecs.packing import pack_flat, unpack_flat
from edge_sdk.errors import Corrupt

Labels = NDArray[np.uint8]

PLANES, HUFFMAN = 0, 1
"""How indices are written."""


def index_bits(alphabet: int) -> int:
    """Bits of one index as planes: the least that tell 1 to 256 values apart."""
    return (alphabet - 1).bit_length()


def planes_bytes(count: int, alphabet: int) -> int:
    """Size of `count` indices as planes."""
    return index_bits(alphabet) * -(-count // 8)


def write_indices(labels: Labels, alphabet: int) -> tuple[int, bytes]:
    """The way that takes fewer bytes, and the bytes."""
    bits = index_bits(alphabet)
    if not bits:
        return PLANES, b""
    joined = _join(labels, alphabet)
    counts = np.bincount(joined, minlength=256)
    code = Code.of(counts)
    if -(-code.bits(counts) // 8) < planes_bytes(len(labels), alphabet):
        return HUFFMAN, deflate(joined, code)
    return PLANES, pack_flat(labels, bits)


def read_indices(cursor: Cursor, way: int, count: int, alphabet: int) -> Labels:
    """`count` indices, which are all that is left of the payload.

    Raises:
        Malformed: the bytes end early or late, or an index is not below `alphabet`.
    """
    bits = index_bits(alphabet)
    if way == PLANES:
        content = cursor.take(planes_bytes(count, alphabet))
        labels = unpack_flat(content, bits, count) if bits else np.zeros(count, np.uint8)
    elif way == HUFFMAN and bits:
        octets = np.frombuffer(cursor.take(cursor.left), np.uint8)
        joined, taken = inflate(octets, -(-count // _digits(alphabet)))
        if taken != len(octets):
            raise Corrupt(f"{len(octets) - taken} bytes after the indices")
        labels = _split(joined, count, alphabet)
    else:
        raise Corrupt(f"way {way} of writing indices")
    if count and int(labels.max()) >= alphabet:
        raise Corrupt(f"index {labels.max()} of {alphabet} centroids")
    return labels


def _digits(alphabet: int) -> int:
    """Most indices that share a byte."""
    digits = 1
    while alphabet ** (digits + 1) <= 256:
        digits += 1
    return digits


def _join(labels: Labels, alphabet: int) -> Labels:
    """Neighbours as digits of one byte, the first the lowest; filled up with zeros."""
    digits = _digits(alphabet)
    filled = np.zeros(-(-len(labels) // digits) * digits, np.uint8)
    filled[: len(labels)] = labels
    columns = filled.reshape(-1, digits)
    joined = columns[:, -1].copy()
    for place in range(digits - 2, -1, -1):
        joined *= np.uint8(alphabet % 256)
        joined += columns[:, place]
    return joined


def _split(joined: Labels, count: int, alphabet: int) -> Labels:
    digits = _digits(alphabet)
    if count and int(joined.max()) >= alphabet**digits:
        raise Corrupt(f"byte {joined.max()} of {alphabet**digits}")
    powers = alphabet ** np.arange(digits)
    labels = (joined[:, np.newaxis] // powers % alphabet).astype(np.uint8).reshape(-1)
    if labels[count:].any():
        raise Corrupt("filling of the indices is not zero")
    return labels[:count]
