"""Small codes to bit planes and back: plane 0 holds every code's highest bit, and so on down."""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Corrupt

Codes = NDArray[np.uint8]
Planes = NDArray[np.uint8]
"""Shape (bits, codes / 8): bit k of byte i of a plane belongs to code 8 * i + k."""


def pack_planes(codes: Codes, planes: Planes) -> None:
    """Write the bits of `codes` (flat, as many as `planes` have room for) into `planes`."""
    bits = len(planes)
    for place in range(bits):
        mask = np.uint8(1 << bits - 1 - place)
        planes[place] = np.packbits(codes & mask, bitorder="little")


def unpack_planes(planes: Planes) -> Codes:
    """The codes that `planes` hold."""
    codes = np.unpackbits(planes[0], bitorder="little")
    for plane in planes[1:]:
        codes <<= 1
        codes |= np.unpackbits(plane, bitorder="little")
    return codes


def pack_flat(codes: Codes, bits: int) -> bytes:
    """All planes of any number of codes, each filled up to a whole byte with zeros."""
    planes = np.empty((bits, -(-len(codes) // 8)), np.uint8)
    pack_planes(codes, planes)
    return planes.tobytes()


def unpack_flat(content: bytes, bits: int, count: int) -> Codes:
    """Undo `pack_flat`; `content` has the right length.

    Raises:
        Corrupt: a bit of the filling is set.
    """
    if not count:
        return np.zeros(0, np.uint8)
    codes = unpack_planes(np.frombuffer(content, np.uint8).reshape(bits, -1))
    if codes[count:].any():
        raise Corrupt("a bit after the last code is set")
    return codes[:count]
