"""What a device remembers between rounds, as pure functions that serve every codec.

*Error feedback*, for biased codecs: what a codec left out is added to the next update.

    compensated = compensate(update, residual)
    payloads = codec.encode(compensated, seed=seed, chunk_bytes=chunk_bytes)
    ... send, and get a receipt ...
    residual = residual_after(codec, compensated, payloads, seed=seed, counted=receipt.chunks)

Only chunks that the receipt lists count as sent; everything else stays in the residual, so an
update that came too late (`counted=()`) is not lost. Sources: Seide et al. 2014, Stich et al. 2018,
Karimireddy et al. 2019.

*Artemis memory*, for unbiased codecs: what is sent is the difference to a slow average that the
server follows (Philippenko and Dieuleveut, arXiv 2006.14591).

    payloads = codec.encode(difference(update, memory), …)
    memory = memory_after(codec, memory, payloads, seed=seed, counted=…, speed=artemis_speed(vnmse))

Both functions that end in `_after` decode with the codec itself, so they see exactly what the
server sees.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Codec
from edge_sdk.values import Piece, Place, Range, Vector


def compensate(update: Vector, residual: Vector | None) -> Vector:
    """`update` plus what earlier rounds left out; None where there is nothing yet."""
    if residual is None:
        return update.copy()
    _require_alike(update, residual)
    return update + residual


def residual_after(
    codec: Codec,
    compensated: Vector,
    payloads: Sequence[bytes],
    *,
    seed: int,
    counted: Sequence[Range],
) -> Vector:
    """What is still to be sent once the server has counted the chunks `counted`.

    Args:
        codec: the one that made `payloads`.
        compensated: what was encoded, from `compensate`.
        payloads: all chunks of the update.
        seed: the update's seed.
        counted: half-open ranges of chunk numbers, from the receipt; none for a lost update.

    Raises:
        Misuse: a range lies outside the chunks, or two ranges share a chunk.
    """
    residual = compensated.copy()
    for piece in _pieces(codec, len(compensated), payloads, seed=seed, counted=counted):
        piece.where.add(np.negative(piece.values), residual)
    return residual


def difference(update: Vector, memory: Vector | None) -> Vector:
    """What an Artemis device encodes: `update` minus its memory; None is a memory of zeros."""
    if memory is None:
        return update.copy()
    _require_alike(update, memory)
    return update - memory


def memory_after(
    codec: Codec,
    memory: Vector | None,
    payloads: Sequence[bytes],
    *,
    dimension: int,
    seed: int,
    counted: Sequence[Range],
    speed: float,
) -> Vector:
    """The Artemis memory once the server has counted the chunks `counted` of a difference.

    The server moves its mean of all memories by `speed / devices` times the same decoded values, so
    that it stays the mean of what the devices hold.

    Args:
        codec: the one that made `payloads`.
        memory: before the round; None is a memory of zeros.
        payloads: all chunks of the encoded difference.
        dimension: coordinates of the vector.
        seed: the update's seed.
        counted: half-open ranges of chunk numbers, from the receipt.
        speed: share of the decoded difference that the memory takes over, above 0 up to 1.

    Raises:
        Misuse: a number or a range is out of bounds.
    """
    if not 0 < speed <= 1:
        raise Misuse(f"speed {speed} is not above 0 and at most 1")
    moved = np.zeros(dimension, np.float32) if memory is None else memory.copy()
    for piece in _pieces(codec, dimension, payloads, seed=seed, counted=counted):
        piece.where.add(piece.values * np.float32(speed), moved)
    return moved


def artemis_speed(vnmse: float) -> float:
    """Speed of the memory for a codec with this error: 1 / (2 (1 + vnmse)), as in Artemis' code."""
    if not vnmse >= 0:
        raise Misuse(f"an error of {vnmse} of the squared norm")
    return 1 / (2 * (1 + vnmse))


def squared_norm(vector: NDArray[np.floating]) -> float:
    """Sum of squares in float64, one after another: the same on every machine."""
    total = 0.0
    for start in range(0, len(vector), _SLAB):
        squares = np.square(vector[start : start + _SLAB], dtype=np.float64)
        total += float(np.cumsum(squares)[-1])
    return total


def left_share(compensated: Vector, residual: Vector) -> float:
    """Squared norm of the residual over that of what was encoded; 0 for a vector of zeros.

    Error feedback works while this stays below 1 on average: then the codec contracts. An unbiased
    codec at a low rate does not, and its residual grows without end; use it without feedback.
    """
    whole = squared_norm(compensated)
    return squared_norm(residual) / whole if whole else 0.0


_SLAB = 1 << 16


def _require_alike(update: Vector, kept: Vector) -> None:
    if update.shape != kept.shape or kept.dtype != np.float32:
        raise Misuse(
            f"kept {kept.dtype} of shape {kept.shape} for an update of shape {update.shape}"
        )


def _pieces(
    codec: Codec,
    dimension: int,
    payloads: Sequence[bytes],
    *,
    seed: int,
    counted: Sequence[Range],
) -> Iterator[Piece]:
    """What the server decoded: every counted chunk once."""
    numbers = [index for first, end in counted for index in range(first, end)]
    if len(set(numbers)) != len(numbers):
        raise Misuse("a chunk is counted twice")
    if numbers and not 0 <= min(numbers) <= max(numbers) < len(payloads):
        raise Misuse(f"counted chunks {counted} of {len(payloads)}")
    for index in numbers:
        yield codec.decode(payloads[index], Place(dimension, index, len(payloads), seed))
