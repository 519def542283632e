"""Huffman code of a small alphabet, written level by level so that whole arrays are coded at once.

The code is canonical and its bits are those of any Huffman coder, only their order differs: first
the first bit of every symbol, then the second bit of every symbol that has one, and so on.
FORMAT.md, section S.7. Source: Huffman 1952.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor, pack_bits
from edge_sdk.errors import Corrupt

MAX_SYMBOLS = 16

Symbols = NDArray[np.uint8]


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Length of each symbol's code word, for at least two symbols that all occur.

    Among equal counts the heap prefers the lower number; joined trees count up from the symbols.
    """
    heap = [(count, symbol) for symbol, count in enumerate(counts)]
    heapq.heapify(heap)
    parents: dict[int, int] = {}
    for joined in range(len(counts), 2 * len(counts) - 1):
        left, right = heapq.heappop(heap), heapq.heappop(heap)
        parents[left[1]] = parents[right[1]] = joined
        heapq.heappush(heap, (left[0] + right[0], joined))
    depths = {2 * len(counts) - 2: 0}
    for node in range(2 * len(counts) - 3, -1, -1):
        depths[node] = depths[parents[node]] + 1
    return [depths[symbol] for symbol in range(len(counts))]


def write_symbols(symbols: Symbols, counts: Sequence[int]) -> bytes:
    """Code lengths, then the levels; `counts` says how often each symbol occurs (never 0)."""
    lengths = code_lengths(counts)
    words = np.array(_code_words(lengths), np.uint16)[symbols]
    left = np.array(lengths, np.uint8)[symbols]
    parts = [bytes(lengths)]
    while len(left):
        parts.append(pack_bits((words >> (left - 1) & 1).astype(np.uint8)))
        more = left > 1
        words, left = words[more], left[more] - 1
    return b"".join(parts)


def read_symbols(cursor: Cursor, alphabet: int, count: int) -> Symbols:
    """`count` symbols of an alphabet of 2 up to `MAX_SYMBOLS`.

    Raises:
        Malformed: the bytes end early, or the lengths are not those of a complete prefix code.
    """
    lengths = list(cursor.take(alphabet))
    if min(lengths) < 1 or max(lengths) >= MAX_SYMBOLS:
        raise Corrupt(f"code lengths {lengths}")
    if sum(1 << MAX_SYMBOLS - length for length in lengths) != 1 << MAX_SYMBOLS:
        raise Corrupt(f"code lengths {lengths} are not a complete code")
    symbols = np.zeros(count, np.uint8)
    open_at = np.arange(count, dtype=np.uint32)
    words = np.zeros(count, np.uint16)
    first, done = 0, 0
    order = np.array(_canonical_order(lengths), np.uint8)
    for level in range(1, max(lengths) + 1):
        words = (words << 1 | cursor.bits(len(words))).astype(np.uint16)
        ending = lengths.count(level)
        first *= 2
        ends = words < first + ending
        symbols[open_at[ends]] = order[done + words[ends] - first]
        first, done = first + ending, done + ending
        words, open_at = words[~ends], open_at[~ends]
    return symbols


def _canonical_order(lengths: Sequence[int]) -> list[int]:
    """Symbols by length, then by number: the order of their code words."""
    return sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol))


def _code_words(lengths: Sequence[int]) -> list[int]:
    """The canonical code: each word is the one before it plus one, lengthened with zeros."""
    words = [0] * len(lengths)
    word, length = -1, 0
    for symbol in _canonical_order(lengths):
        word = word + 1 << lengths[symbol] - length
        length = lengths[symbol]
        words[symbol] = word
    return words
