"""Bytes to a raw deflate stream of literals (RFC 1951) and back.

One block with its own Huffman code and no matches, written here rather than by zlib, because what
zlib writes differs between its builds and a codec's bytes must not. Any inflate reads it.
"""

import collections
import dataclasses
import heapq
import itertools
import zlib

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Corrupt, Truncated

Octets = NDArray[np.uint8]
Words = NDArray[np.uint64]

_END = 256
_MOST_LENGTH = 15
_MOST_CODE_LENGTH = 7
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_READ_BYTES = 1 << 15


@dataclasses.dataclass(frozen=True, slots=True)
class Code:
    """A Huffman code of bytes and of the end of the block, and the block header that states it."""

    lengths: list[int]
    """Bits of each of the 257 symbols' words, 0 for those that do not occur."""
    head: list[tuple[int, int]]
    """Header fields as (value, bits)."""

    @classmethod
    def of(cls, counts: NDArray[np.int64]) -> "Code":
        """The code for a text in which each byte occurs `counts` times (shape (256,))."""
        lengths = code_lengths([*counts.tolist(), 1], _MOST_LENGTH)
        return cls(lengths, _head(lengths))

    def bits(self, counts: NDArray[np.int64]) -> int:
        """Size of the stream of such a text."""
        head = sum(width for _, width in self.head)
        return head + self.lengths[_END] + int(np.dot(counts, np.array(self.lengths[:_END])))


def code_lengths(counts: list[int], longest: int) -> list[int]:
    """Code word lengths of a Huffman code, 0 for symbols that do not occur.

    Among equal counts the lower symbol, then the older tree, is joined first. Where a word would
    be longer than `longest`, counts are halved (rounding up) until none is.
    """
    while True:
        lengths = _huffman(counts)
        if max(lengths) <= longest:
            return lengths
        counts = [(count + 1) // 2 for count in counts]


def deflate(data: Octets, code: Code | None = None) -> bytes:
    """One final block of literals, with the code for exactly these `data`."""
    code = code or Code.of(np.bincount(data, minlength=256))
    words = _code_words(code.lengths)
    body = np.array(words, np.uint64)[data]
    widths = np.array(code.lengths, np.uint64)[data]
    for _ in range(2):  # four words of up to 15 bits make one of up to 60
        body, widths = _join_neighbours(body, widths)
    end = [(words[_END], code.lengths[_END])]
    front, back = (np.array(pairs, np.uint64).T for pairs in (code.head, end))
    return _pack(
        np.concatenate([front[0], body, back[0]]), np.concatenate([front[1], widths, back[1]])
    )


def inflate(data: Octets, size: int) -> tuple[Octets, int]:
    """`size` bytes from the front of `data`, and how many bytes the stream took.

    Raises:
        Malformed: not a deflate stream, or of another size; at most `size` + 1 bytes are made.
    """
    machine = zlib.decompressobj(-15)
    made = bytearray()
    at = 0
    try:
        while not machine.eof:
            if at >= len(data) and not machine.unconsumed_tail:
                raise Truncated("deflate stream ends early")
            piece = machine.unconsumed_tail or data[at : at + _READ_BYTES].tobytes()
            at += 0 if machine.unconsumed_tail else len(piece)
            made += machine.decompress(piece, size + 1 - len(made))
            if len(made) > size:
                raise Corrupt(f"deflate stream of more than {size} bytes")
    except zlib.error as error:
        raise Corrupt(f"not a deflate stream: {error}") from None
    if len(made) != size:
        raise Corrupt(f"deflate stream of {len(made)} bytes, not {size}")
    return np.frombuffer(bytes(made), np.uint8), at - len(machine.unused_data)


def _huffman(counts: list[int]) -> list[int]:
    """Lengths of an unlimited Huffman code."""
    heap = [(count, symbol) for symbol, count in enumerate(counts) if count]
    lengths = [0] * len(counts)
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
        return lengths
    heapq.heapify(heap)
    parent: dict[int, int] = {}
    tree = len(counts)
    while len(heap) > 1:
        low, high = heapq.heappop(heap), heapq.heappop(heap)
        parent[low[1]] = parent[high[1]] = tree
        heapq.heappush(heap, (low[0] + high[0], tree))
        tree += 1
    depth = {tree - 1: 0}
    for node in range(tree - 2, len(counts) - 1, -1):
        depth[node] = depth[parent[node]] + 1
    for symbol, count in enumerate(counts):
        if count:
            lengths[symbol] = depth[parent[symbol]] + 1
    return lengths


def _code_words(lengths: list[int]) -> list[int]:
    """Canonical code words, bits reversed: deflate sends their highest bit first."""
    words = [0] * len(lengths)
    used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    word, before = 0, 0
    for length, symbol in used:
        word <<= length - before
        words[symbol] = int(f"{word:0{length}b}"[::-1], 2)
        word, before = word + 1, length
    return words


def _head(lengths: list[int]) -> list[tuple[int, int]]:
    """Block header as (value, bits): RFC 1951, section 3.2.7, with no distance codes used."""
    tokens = _tokens([*lengths, 0])  # one distance code, of length 0: literals only
    used = collections.Counter(symbol for symbol, _, _ in tokens)
    code = code_lengths([used[symbol] for symbol in range(19)], _MOST_CODE_LENGTH)
    words = _code_words(code)
    sent = max(4, 1 + max(place for place, symbol in enumerate(_ORDER) if code[symbol]))
    head = [(1, 1), (2, 2), (len(lengths) - 257, 5), (0, 5), (sent - 4, 4)]
    head += [(code[symbol], 3) for symbol in _ORDER[:sent]]
    for symbol, extra, width in tokens:
        head.append((words[symbol], code[symbol]))
        if width:
            head.append((extra, width))
    return head


def _tokens(lengths: list[int]) -> list[tuple[int, int, int]]:
    """Code lengths as (symbol, extra value, extra bits), runs folded."""
    tokens: list[tuple[int, int, int]] = []
    for value, run in itertools.groupby(lengths):
        tokens += _run_tokens(value, len(list(run)))
    return tokens


def _run_tokens(value: int, run: int) -> list[tuple[int, int, int]]:
    """One run of `run` equal lengths."""
    tokens: list[tuple[int, int, int]] = []
    if value:
        tokens.append((value, 0, 0))
        run -= 1
    while run >= 3:
        if value == 0 and run >= 11:
            taken = min(run, 138)
            tokens.append((18, taken - 11, 7))
        elif value == 0:
            taken = min(run, 10)
            tokens.append((17, taken - 3, 3))
        else:
            taken = min(run, 6)
            tokens.append((16, taken - 3, 2))
        run -= taken
    return tokens + [(value, 0, 0)] * run


def _join_neighbours(values: Words, widths: Words) -> tuple[Words, Words]:
    """Every two values made one; an odd last one is joined with nothing."""
    if len(values) % 2:
        values, widths = np.append(values, np.uint64(0)), np.append(widths, np.uint64(0))
    return values[::2] | values[1::2] << widths[::2], widths[::2] + widths[1::2]


def _pack(values: Words, widths: Words) -> bytes:
    """Concatenate values of up to 60 bits, lowest bit first.

    Values that start within the same 64-bit word are joined by one `bitwise_or.reduceat`; what
    reaches over the word's end goes to the front of the next.
    """
    ends = np.cumsum(widths)
    starts = ends - widths
    word, shift = starts >> np.uint64(6), starts & np.uint64(63)
    out = np.zeros(int(ends[-1]) // 64 + 2, np.uint64)
    first = np.flatnonzero(np.diff(word, prepend=word[0] + np.uint64(1)))
    out[word[first]] = np.bitwise_or.reduceat(values << shift, first)
    over = np.flatnonzero(shift + widths > 64)
    out[word[over] + np.uint64(1)] |= values[over] >> (np.uint64(64) - shift[over])
    return out.astype("<u8", copy=False).tobytes()[: (int(ends[-1]) + 7) // 8]
