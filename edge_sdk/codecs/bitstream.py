"""Streams of single bits: what the entropy coders of this room write to and read from.

Bits are arrays of 0 and 1 while in memory; in bytes the least significant bit comes first.
FORMAT.md, section B.1.
"""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Corrupt, Truncated

Bits = NDArray[np.uint8]
"""One-dimensional, every element 0 or 1."""

Whole = NDArray[np.int64]

_WINDOW = 1 << 12


class BitWriter:
    """Collects bits in order."""

    def __init__(self) -> None:
        self._parts: list[Bits] = []
        self.size = 0
        """Bits written so far."""

    def bits(self, bits: Bits) -> None:
        """Write an array of bits."""
        self._parts.append(bits)
        self.size += len(bits)

    def number(self, value: int, width: int) -> None:
        """Write a number below 2**width in `width` bits, lowest first."""
        self.bits(np.array([value >> place & 1 for place in range(width)], np.uint8))

    def planes(self, values: NDArray[np.integer], width: int) -> None:
        """Write the lowest `width` bits of every value: all lowest bits, and so on."""
        for place in range(width):
            self.bits((values >> place & 1).astype(np.uint8))

    def align(self) -> None:
        """Fill up with zero bits to the end of a byte."""
        self.bits(np.zeros(-self.size % 8, np.uint8))

    def octets(self, data: bytes) -> None:
        """Write whole bytes, from the next byte boundary on."""
        self.align()
        self.bits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little"))

    def append(self, other: "BitWriter") -> None:
        """Write everything `other` holds; `other` must not rely on byte boundaries."""
        self._parts.extend(other._parts)
        self.size += other.size

    def to_bytes(self) -> bytes:
        """All bits, the last byte filled with zero bits."""
        bits = np.concatenate(self._parts) if self._parts else np.zeros(0, np.uint8)
        return np.packbits(bits, bitorder="little").tobytes()


class BitReader:
    """Reads bits in order; nothing is allocated before the bits for it are known to be there."""

    def __init__(self, data: bytes) -> None:
        self._data = np.frombuffer(data, np.uint8)
        self._at = 0

    @property
    def left(self) -> int:
        """Bits not read yet."""
        return 8 * len(self._data) - self._at

    def bits(self, count: int) -> Bits:
        """The next `count` bits.

        Raises:
            Truncated: fewer are left.
        """
        bits = self._peek(count)
        self._at += count
        return bits

    def number(self, width: int) -> int:
        """The next number of `width` bits."""
        return sum(int(bit) << place for place, bit in enumerate(self.bits(width)))

    def planes(self, count: int, width: int) -> Whole:
        """`count` values of `width` bits each, as `BitWriter.planes` writes them."""
        if count * width > self.left:
            raise Truncated(f"payload needs {count * width} bits more, {self.left} are left")
        values = np.zeros(count, np.int64)
        for place in range(width):
            values |= self.bits(count).astype(np.int64) << place
        return values

    def ones(self, count: int, *, most: int) -> Whole:
        """Positions, from here on, of the next `count` ones; moves on behind the last of them.

        Raises:
            Truncated: the data end before.
            Corrupt: they do not lie within the next `most` bits.
        """
        if count > min(most, self.left):
            raise Truncated(f"{count} ones in {min(most, self.left)} bits")
        window = min(2 * count + _WINDOW, most, self.left)
        while True:
            places = np.flatnonzero(self._peek(window).view(np.bool_))
            if len(places) >= count:
                break
            if window == most:
                raise Corrupt(f"fewer than {count} ones in {most} bits")
            if window == self.left:
                raise Truncated(f"fewer than {count} ones in the last {window} bits")
            window = min(2 * window, most, self.left)
        places = places[:count]
        self._at += int(places[-1]) + 1 if count else 0
        return places

    def align(self) -> None:
        """Move on to the next byte boundary.

        Raises:
            Corrupt: a skipped bit is set.
        """
        if self.bits(-self._at % 8).any():
            raise Corrupt("padding bits are set")

    def octets(self) -> NDArray[np.uint8]:
        """All remaining bytes from the next byte boundary on, without moving behind them."""
        self.align()
        return self._data[self._at // 8 :]

    def skip_octets(self, count: int) -> None:
        """Move on by `count` bytes, which must be there."""
        self._at += 8 * count

    def end(self) -> None:
        """The data must end here, but for the filling of the last byte.

        Raises:
            Corrupt: they do not.
        """
        self.align()
        if self.left:
            raise Corrupt(f"{self.left // 8} bytes after the end of the payload")

    def _peek(self, count: int) -> Bits:
        if count > self.left:
            raise Truncated(f"payload needs {count} bits more, {self.left} are left")
        first, shift = divmod(self._at, 8)
        octets = self._data[first : (self._at + count + 7) // 8]
        return np.unpackbits(octets, bitorder="little")[shift : shift + count]
