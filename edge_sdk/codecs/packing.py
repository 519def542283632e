"""Small codes to bit planes and back: plane 0 holds every code's highest bit, and so on down."""

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
Planes = NDArray[np.uint8]
"""Shape (bits, codes / 8): bit k of byte i of a plane belongs to code 8 * i + k."""


def pack_planes(codes: Codes, planes: Planes) -> None:
    """Write the bits of `codes` (flat, a multiple of 8 of them) into `planes`."""
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
