"""Decode straight into a sum, chunk by chunk: no dense vector per sender."""

import math

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Codec
from edge_sdk.values import Coordinates, Place


def decode_onto(
    codec: Codec,
    payload: bytes,
    place: Place,
    *,
    onto: NDArray[np.float64],
    weight: float,
    covered: NDArray[np.float64] | None = None,
) -> Coordinates:
    """Add `weight` times what `payload` carries to `onto`; which coordinates those were.

    Args:
        codec: how to read the payload.
        payload: one chunk.
        place: where the chunk stands; its dimension is the length of `onto`.
        onto: float64 sum over senders, changed in place, untouched if an error is raised.
        weight: this sender's weight.
        covered: where given, `weight` is added at the same coordinates, so that the mean is
            `onto / covered` whichever chunks arrived.

    Raises:
        Malformed: the payload breaks the format or does not fit `place`.
        Misuse: `onto` or `covered` is not float64 of the place's dimension, or `weight` not finite.
    """
    if not math.isfinite(weight):
        raise Misuse(f"weight {weight}")
    for array in (onto,) if covered is None else (onto, covered):
        if array.dtype != np.float64 or array.shape != (place.dimension,):
            raise Misuse(f"sum of {array.dtype} {array.shape}, need float64 ({place.dimension},)")
    piece = codec.decode(payload, place)
    piece.where.add(np.multiply(piece.values, weight, dtype=np.float64), onto)
    if covered is not None:
        piece.where.add(np.broadcast_to(np.float64(weight), piece.values.shape), covered)
    return piece.where
