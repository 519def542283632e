"""What every codec takes and refuses before its own work begins."""

import numpy as np

from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import MAX_COUNT, Place, Vector

MAX_DIMENSION = 1 << 31
"""Most coordinates in one vector; the same limit as in the frame header."""

MAX_CHUNKS = 65_535
"""Most chunks in one vector; the same limit as in the frame header."""

MAX_MAGNITUDE = 2.0**110
"""Largest absolute value a lossy codec takes: above it a decoded value could overflow float32."""


def require_vector(vector: Vector, *, limit: float | None = None) -> None:
    """Refuse what no codec encodes.

    Raises:
        Misuse: not a one-dimensional float32 array, empty, over `MAX_DIMENSION`, holds NaN or an
            infinity, or a magnitude over `limit`.
    """
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float32 or vector.ndim != 1:
        raise Misuse("a codec takes a one-dimensional float32 array")
    if not 1 <= len(vector) <= MAX_DIMENSION:
        raise Misuse(f"a codec takes 1 to {MAX_DIMENSION} coordinates, not {len(vector)}")
    largest = max(-float(np.min(vector)), float(np.max(vector)))
    if not np.isfinite(largest):
        raise Misuse("the vector holds NaN or an infinity")
    if limit is not None and largest > limit:
        raise Misuse(f"the vector holds a magnitude of {largest:g}, limit {limit:g}")


def require_order(
    vector: Vector, *, seed: int, chunk_bytes: int, limit: float | None = None
) -> None:
    """Refuse what no codec encodes, nor any frame carries.

    Raises:
        Misuse: as `require_vector`; or `seed` is none a frame header holds, or chunks of no bytes.
    """
    require_vector(vector, limit=limit)
    if not 0 <= seed <= MAX_COUNT:
        raise Misuse("a seed is 0 to 2**53 - 1")
    if chunk_bytes < 1:
        raise Misuse(f"chunks of {chunk_bytes} bytes")


def require_place(place: Place) -> None:
    """Refuse a place that no frame header can state.

    Raises:
        Corrupt: a number is outside the limits of the frame format.
    """
    if not 1 <= place.dimension <= MAX_DIMENSION:
        raise Corrupt(f"dimension {place.dimension}")
    if not 0 <= place.index < place.count <= MAX_CHUNKS:
        raise Corrupt(f"chunk {place.index} of {place.count}")
    if not 0 <= place.seed <= MAX_COUNT:
        raise Corrupt("seed outside 0 to 2**53 - 1")


def require_size(payload: bytes, wanted: int) -> None:
    """Refuse a payload that is not exactly `wanted` bytes long.

    Raises:
        Corrupt: another length.
    """
    if len(payload) != wanted:
        raise Corrupt(f"payload of {len(payload)} bytes, this place needs {wanted}")
