"""Plain numbers: float32 exactly, float16 with one power of two per chunk."""

import dataclasses
import math
import struct
from typing import ClassVar

import numpy as np

from edge_sdk.codecs.chunking import chunks_needed, share
from edge_sdk.codecs.intake import (
    MAX_MAGNITUDE,
    require_order,
    require_place,
    require_size,
)
from edge_sdk.errors import Corrupt, NotFinite
from edge_sdk.values import Coordinates, Piece, Place, Vector

FLOAT32_WIRE_ID = 1
FLOAT16_WIRE_ID = 3

_HALF_HEAD = struct.Struct("<hH")
_TOP_EXPONENT = 15
"""A chunk's largest magnitude is scaled below 2**15, half of what float16 holds."""
_LEAST_EXPONENT = -164
_MOST_EXPONENT = 112
"""Above it, 65504 * 2**exponent would not be a float32."""


@dataclasses.dataclass(frozen=True, slots=True)
class Float32:
    """Every coordinate as it is, 4 bytes each."""

    spec: ClassVar[str] = "float32"
    parameter: ClassVar[int] = 0
    unbiased: ClassVar[bool] = True

    def stated_error(self, payload: bytes) -> float:  # noqa: ARG002 - there is none
        """See `stated.StatesError`: none."""
        return 0.0

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes)
        count = chunks_needed(len(vector), unit_bytes=4, room_bytes=chunk_bytes)
        spans = (share(len(vector), index=index, count=count) for index in range(count))
        return [vector[first:end].astype("<f4").tobytes() for first, end in spans]

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`; refuses NaN and infinities."""
        require_place(place)
        first, end = share(place.dimension, index=place.index, count=place.count)
        require_size(payload, 4 * (end - first))
        values = np.frombuffer(payload, "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise NotFinite("the payload holds NaN or an infinity")
        return Piece(where=Coordinates.span(first, end - first), values=values)


@dataclasses.dataclass(frozen=True, slots=True)
class Float16:
    """Every coordinate rounded to float16 after one power of two per chunk, 2 bytes each.

    The power of two puts the chunk's largest magnitude just below 2**15, so neither 1e30 nor
    1e-30 is lost: the error is at most 2**-12 of a coordinate, or 2**-40 of the chunk's largest.
    """

    spec: ClassVar[str] = "float16"
    parameter: ClassVar[int] = 0
    unbiased: ClassVar[bool] = False

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)
        room = chunk_bytes - _HALF_HEAD.size
        count = chunks_needed(len(vector), unit_bytes=2, room_bytes=room)
        spans = (share(len(vector), index=index, count=count) for index in range(count))
        return [_halves(vector[first:end]) for first, end in spans]

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`; refuses NaN and infinities."""
        require_place(place)
        first, end = share(place.dimension, index=place.index, count=place.count)
        require_size(payload, _HALF_HEAD.size + 2 * (end - first))
        exponent, reserved = _HALF_HEAD.unpack_from(payload)
        if reserved or not _LEAST_EXPONENT <= exponent <= _MOST_EXPONENT:
            raise Corrupt("float16 head is outside the format")
        halves = np.frombuffer(payload, "<f2", offset=_HALF_HEAD.size)
        if not np.isfinite(halves).all():
            raise NotFinite("the payload holds NaN or an infinity")
        values = np.ldexp(halves.astype(np.float64), exponent).astype(np.float32)
        return Piece(where=Coordinates.span(first, end - first), values=values)


def _halves(span: Vector) -> bytes:
    """Payload of one chunk: exponent, reserved, then the scaled values as float16."""
    largest = float(np.max(np.abs(span)))
    exponent = math.frexp(largest)[1] - _TOP_EXPONENT if largest else 0
    scaled = np.ldexp(span.astype(np.float64), -exponent)
    return _HALF_HEAD.pack(exponent, 0) + scaled.astype("<f2").tobytes()
