"""One bit per coordinate: its sign, scaled by the mean magnitude of its chunk (signSGD).

Biased; the scale makes it a contraction, so error feedback repairs it (Karimireddy et al. 2019,
"Error Feedback Fixes SignSGD"). Payload: FORMAT.md, section S.6.
"""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from edge_sdk.codecs.cursor import Cursor, pack_bits
from edge_sdk.codecs.fitting import fit_chunks, span_of
from edge_sdk.codecs.intake import MAX_MAGNITUDE, require_order
from edge_sdk.codecs.reals import write_reals
from edge_sdk.errors import Corrupt
from edge_sdk.values import Coordinates, Piece, Place, Vector

WIRE_ID = 18

_LANES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Sign:
    """Signs and one scale per chunk: the mean of the magnitudes, which minimises the error."""

    spec: ClassVar[str] = "sign"
    parameter: ClassVar[int] = 0
    unbiased: ClassVar[bool] = False

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110. A zero counts as positive."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)

        def encode_chunk(place: Place) -> bytes:
            first, end = span_of(place)
            scale = np.float32(mean_magnitude(vector[first:end]))
            signs = pack_bits(vector[first:end] < 0) if scale else b""
            return write_reals(scale.reshape(1), 32) + signs

        return fit_chunks(
            encode_chunk,
            dimension=len(vector),
            seed=seed,
            chunk_bytes=chunk_bytes,
            least=-(-len(vector) // max(8 * (chunk_bytes - 4), 1)),
        )

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`; refuses negative scales."""
        first, end = span_of(place)
        cursor = Cursor(payload)
        scale = np.float32(cursor.real())
        if scale < 0 or np.signbit(scale):
            raise Corrupt("a negative scale")
        values = np.full(end - first, scale, np.float32)
        if scale:
            np.negative(values, where=cursor.bits(end - first).astype(np.bool_), out=values)
        cursor.end()
        return Piece(where=Coordinates.span(first, end - first), values=values)


def mean_magnitude(values: Vector) -> float:
    """Mean of |values|, summed in an order that does not depend on the machine.

    Lanes are added row by row in float64, element by element; the lanes exactly.
    """
    sizes = np.abs(values.astype(np.float64))
    rows = len(sizes) // _LANES * _LANES
    lanes = np.zeros(_LANES)
    for row in sizes[:rows].reshape(-1, _LANES):
        lanes += row
    return math.fsum((*lanes.tolist(), *sizes[rows:].tolist())) / len(values)
