"""Weighted means of updates, coordinate by coordinate, over the chunks that arrived. Pure.

For coordinate j: `sum_k p_k D_k[j] / sum_k p_k` over the updates k whose chunks cover j, with
`p_k` the number of examples. Sums are float64 and formed one update after the other in the order
given, chunks rising, so the same updates in the same order give the same bits.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs import codec_from_frame
from edge_sdk.errors import Malformed, NotFinite, Reason, Refused
from edge_sdk.plan import Spans
from edge_sdk.values import Piece, Vector
from edge_sdk.wire import Frame

NORM_FACTOR = 10.0
"""An update may be this many times longer than the model it was trained from, plus one."""


class WeightedSum:
    """The running sum of one round: 16 bytes per coordinate, whatever the number of devices."""

    def __init__(self, dimension: int) -> None:
        self._sums: NDArray[np.float64] = np.zeros(dimension)
        self._weights: NDArray[np.float64] = np.zeros(dimension)

    def add(self, pieces: Iterable[Piece], weight: float) -> None:
        """Take one update's pieces in; one chunk at a time, no vector of the whole dimension."""
        for piece in pieces:
            piece.where.add(np.multiply(piece.values, weight, dtype=np.float64), self._sums)
            piece.where.add(np.broadcast_to(np.float64(weight), piece.values.shape), self._weights)

    def add_at(self, where: Spans, other: "WeightedSum") -> None:
        """Take in the sum of a part of the vector."""
        where.add(other._sums, self._sums)
        where.add(other._weights, self._weights)

    def covered(self) -> NDArray[np.bool_]:
        """Where any chunk arrived."""
        return self._weights > 0

    def mean(self) -> NDArray[np.float64]:
        """The weighted mean; zero where no chunk arrived."""
        mean = np.zeros_like(self._sums)
        np.divide(self._sums, self._weights, out=mean, where=self._weights > 0)
        return mean


def move(weights: Vector, by: NDArray[np.float64]) -> Vector:
    """New float32 weights: `weights + by`, added in float64 and rounded once."""
    return (weights.astype(np.float64) + by).astype(np.float32)


def norm(values: NDArray[np.floating]) -> float:
    """Euclidean length, summed in float64."""
    wide = values.astype(np.float64)
    return math.sqrt(float(wide @ wide))


def norm_limit(weights: Vector) -> float:
    """Longest update accepted by a round that trains from `weights`."""
    return NORM_FACTOR * (1.0 + norm(weights))


def decode_checked(frames: Sequence[Frame], *, longest: float) -> list[Piece]:
    """Decode the chunks of one update, in the order given, and see whether they are usable.

    Raises:
        Refused: `malformed` when a payload breaks its codec's format, `not-finite` when values
            are not finite or the whole is longer than `longest`. Nothing else.
    """
    pieces: list[Piece] = []
    square = 0.0
    for frame in frames:
        try:
            codec = codec_from_frame(frame.codec, frame.parameter)
            piece = codec.decode(frame.payload, frame.place)
        except NotFinite as error:
            raise Refused(Reason.NOT_FINITE, f"chunk {frame.index}: {error}") from None
        except Malformed as error:
            raise Refused(Reason.MALFORMED, f"chunk {frame.index}: {error}") from None
        if not np.isfinite(piece.values).all():
            raise Refused(Reason.NOT_FINITE, f"chunk {frame.index} holds NaN or an infinity")
        square += norm(piece.values) ** 2
        pieces.append(piece)
    if math.sqrt(square) > longest:
        raise Refused(Reason.NOT_FINITE, f"norm {math.sqrt(square):.3g}, limit {longest:.3g}")
    return pieces
