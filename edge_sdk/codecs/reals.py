"""A list of real numbers in a payload: float32, or float16 after one power of two for the list.

FORMAT.md, section S.2. The power of two puts the largest magnitude just below 2**15, so neither
1e30 nor 1e-30 is lost.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.signs import Words
from edge_sdk.errors import Corrupt, Misuse, NotFinite
from edge_sdk.values import Vector

WIDTHS = (16, 32)
"""Bits per number that a list may have."""

_TOP_EXPONENT = 15
_LEAST_EXPONENT = -164
_MOST_EXPONENT = 111
"""Above it, 65504 * 2**exponent would not be a float32."""
_DROPPED = 0x1FFF
"""Bits of a float32's fraction that float16 lacks."""


def require_width(bits: int) -> None:
    """Refuse widths other than 16 and 32.

    Raises:
        Misuse: another width.
    """
    if bits not in WIDTHS:
        raise Misuse(f"values have 16 or 32 bits, not {bits}")


def reals_bytes(count: int, bits: int) -> int:
    """Size of a list."""
    return count * bits // 8 + (2 if bits == 16 else 0)


def write_reals(values: Vector, bits: int, *, words: Words | None = None) -> bytes:
    """`values` as a list of `bits` each.

    Args:
        values: finite, magnitudes at most 2**110.
        bits: 16 or 32.
        words: where given, one random word per value rounds to float16 up or down at random, so
            that the expectation is the value (up to 2**-40 of the list's largest).
    """
    if bits == 32:
        return values.astype("<f4").tobytes()
    largest = float(np.max(np.abs(values), initial=0))
    exponent = math.frexp(largest)[1] - _TOP_EXPONENT if largest else 0
    scaled = np.ldexp(values.astype(np.float64), -exponent)
    if words is not None:
        scaled = _to_eleven_bits(scaled.astype(np.float32), words).astype(np.float64)
    return exponent.to_bytes(2, "little", signed=True) + scaled.astype("<f2").tobytes()


def read_reals(cursor: Cursor, count: int, bits: int) -> NDArray[np.float32]:
    """`count` numbers of `bits` each.

    Raises:
        Malformed: the bytes end early, or a number or the exponent is outside the format.
    """
    if bits == 32:
        return cursor.reals(count)
    exponent = cursor.signed(2)
    if not _LEAST_EXPONENT <= exponent <= _MOST_EXPONENT:
        raise Corrupt(f"exponent {exponent} of float16 values")
    halves = np.frombuffer(cursor.take(2 * count), "<f2")
    if not np.isfinite(halves).all():
        raise NotFinite("the payload holds NaN or an infinity")
    return np.ldexp(halves.astype(np.float64), exponent).astype(np.float32)


def _to_eleven_bits(values: Vector, words: Words) -> Vector:
    """Magnitudes rounded at random to the eleven significant bits of a normal float16.

    Adding a random number below one unit to the bits and cutting off carries into the exponent
    where it must, since float32 magnitudes are ordered like their bits.
    """
    bits = values.view(np.uint32) + (words & np.uint32(_DROPPED))
    bits &= np.uint32(0xFFFFFFFF ^ _DROPPED)
    return bits.view(np.float32)
