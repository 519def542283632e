"""Read a payload from front to back; every way it can be too short or too long is an error."""

import struct

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Corrupt, NotFinite, Truncated


class Cursor:
    """A place in a payload. Nothing is allocated before the bytes for it are known to be there."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._payload) - self._at

    def take(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
            Truncated: fewer are left.
        """
        if size > self.left:
            raise Truncated(f"payload needs {size} bytes more, {self.left} are left")
        self._at += size
        return self._payload[self._at - size : self._at]

    def unsigned(self, size: int) -> int:
        """The next little-endian unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        """The next little-endian two's complement integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little", signed=True)

    def varint(self) -> int:
        """The next number of at most five bytes of seven bits, lowest first (LEB128).

        Raises:
            Corrupt: 2**32 or more, or more bytes than the number needs.
        """
        number = 0
        for place in range(5):
            byte = self.unsigned(1)
            number |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if number > 0xFFFFFFFF or (place and not byte):
                    break
                return number
        raise Corrupt("not the shortest form of a number below 2**32")

    def real(self) -> float:
        """The next float32.

        Raises:
            Corrupt: it is NaN or an infinity.
        """
        value: float = struct.unpack("<f", self.take(4))[0]
        if not np.isfinite(value):
            raise NotFinite("the payload holds NaN or an infinity")
        return value

    def reals(self, count: int) -> NDArray[np.float32]:
        """The next `count` float32, a new array.

        Raises:
            Corrupt: one is NaN or an infinity.
        """
        values = np.frombuffer(self.take(4 * count), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise NotFinite("the payload holds NaN or an infinity")
        return values

    def bits(self, count: int) -> NDArray[np.uint8]:
        """The next `count` bits, least significant bit of a byte first, up to a byte's end.

        Raises:
            Corrupt: a bit between the last one and the end of its byte is set.
        """
        data = np.frombuffer(self.take((count + 7) // 8), np.uint8)
        bits = np.unpackbits(data, bitorder="little")
        if bits[count:].any():
            raise Corrupt("padding bits are set")
        return bits[:count]

    def peek(self, size: int) -> bytes:
        """Up to `size` of the next bytes, without moving on; fewer where the payload ends."""
        return self._payload[self._at : self._at + size]

    def end(self) -> None:
        """The payload must end here.

        Raises:
            Corrupt: it does not.
        """
        if self.left:
            raise Corrupt(f"{self.left} bytes after the end of the payload")


def pack_bits(bits: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """Bits to bytes, least significant bit first, the last byte filled with zero bits."""
    return np.packbits(bits, bitorder="little").tobytes()


def pack_varint(number: int) -> bytes:
    """A number below 2**32 in as few bytes of seven bits as it needs, lowest first (LEB128)."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
