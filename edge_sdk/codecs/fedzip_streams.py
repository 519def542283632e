"""FedZip's lossless half: three ways to write down which centroid each entry takes.

The sizes of the paper's code are counts of bits that no decoder could read (a three-symbol code of
lengths 2, 1, 1; gaps without delimiters). These streams are complete; `paper_bits` gives the
paper's count beside them. FORMAT.md, section S.8.
"""

from enum import IntEnum

import numpy as np

from edge_sdk.codecs.cursor import Cursor, pack_bits, pack_varint
from edge_sdk.codecs.fedzip_clusters import Labels, label_counts
from edge_sdk.codecs.gaps import Whole, read_positions, write_positions
from edge_sdk.codecs.huffman import read_symbols, write_symbols
from edge_sdk.errors import Corrupt

ADDRESS_BITS = 27
"""What the paper's code counts per address: enough for a tensor of 134 million."""


class Encoding(IntEnum):
    """FedZip's encodings. The numbers are wire format, the names stand in specs."""

    HUFFMAN = 0
    """One code word per entry; at best 1 bit each."""
    ADDRESSES = 1
    """Positions of all entries outside the most frequent cluster."""
    DIFFERENCES = 2
    """Gaps between those positions."""


def write_labels(labels: Labels, alphabet: int, encoding: Encoding) -> bytes:
    """`labels` (at least one) below `alphabet` (2 to 16), each label used."""
    counts = label_counts(labels, alphabet)
    if encoding is Encoding.HUFFMAN:
        return write_symbols(labels, counts.tolist())
    common = int(np.argmax(counts))
    parts = [bytes([common])]
    for label in _others(alphabet, common):
        positions = np.flatnonzero(labels == label)
        parts.append(pack_varint(len(positions)))
        if encoding is Encoding.DIFFERENCES:
            parts.append(write_positions(positions))
        else:
            parts.append(_write_addresses(positions, len(labels)))
    return b"".join(parts)


def read_labels(cursor: Cursor, count: int, alphabet: int, encoding: Encoding) -> Labels:
    """`count` labels below `alphabet`.

    Raises:
        Malformed: the bytes end early or break the format.
    """
    if encoding is Encoding.HUFFMAN:
        return read_symbols(cursor, alphabet, count)
    common = cursor.unsigned(1)
    if common >= alphabet:
        raise Corrupt(f"most frequent cluster {common} of {alphabet}")
    labels = np.full(count, common, np.uint8)
    for label in _others(alphabet, common):
        listed = cursor.varint()
        if listed > count:
            raise Corrupt(f"{listed} positions in {count} entries")
        read = read_positions if encoding is Encoding.DIFFERENCES else _read_addresses
        labels[read(cursor, listed, span=count)] = label
    return labels


def paper_bits(labels: Labels, alphabet: int, encoding: Encoding) -> int:
    """Bits of `labels` as the paper's code counts them, centroids not included.

    Huffman: 2 bits for the rarest cluster, 1 for each other, which no prefix code of more than two
    symbols can have. Addresses: 27 bits each. Differences: the digits of each gap, without anything
    to tell where one ends.
    """
    counts = label_counts(labels, alphabet)
    if encoding is Encoding.HUFFMAN:
        return int(len(labels) + counts.min() * (alphabet > 1))
    common = int(np.argmax(counts))
    if encoding is Encoding.ADDRESSES:
        return ADDRESS_BITS * int(len(labels) - counts[common])
    total = 0
    for label in _others(alphabet, common):
        gaps = np.diff(np.flatnonzero(labels == label), prepend=0)
        total += int(np.frexp(np.maximum(gaps, 1).astype(np.float64))[1].sum())
    return total


def _others(alphabet: int, common: int) -> list[int]:
    return [label for label in range(alphabet) if label != common]


def _address_width(span: int) -> int:
    """Bits that hold every position below `span`."""
    return (span - 1).bit_length()


def _write_addresses(positions: Whole, span: int) -> bytes:
    """Bit planes of the positions, lowest plane first."""
    planes = [(positions >> plane & 1).astype(np.uint8) for plane in range(_address_width(span))]
    return pack_bits(np.concatenate(planes)) if planes else b""


def _read_addresses(cursor: Cursor, count: int, *, span: int) -> Whole:
    width = _address_width(span)
    planes = cursor.bits(width * count).reshape(width, count)
    positions = np.zeros(count, np.int64)
    for plane in range(width):
        positions |= planes[plane].astype(np.int64) << plane
    if count and (positions[-1] >= span or (np.diff(positions) <= 0).any()):
        raise Corrupt("addresses are not ascending or beyond the tensor")
    return positions
