"""EDEN as its paper and its authors' program describe it, in plain numpy: what ours is timed by.

Vargaftik et al., arXiv 2108.08842. One random sign flip and one Hadamard transform over the vector
padded to a power of two, by the usual butterfly; nearest centroid of the Lloyd-Max table; one
scale, |x|**2 / <y, q>. Below one bit random coordinates are kept before the rotation. Nothing is
packed: a level takes a whole int64, as it does there, so its time has no packing in it and its
size is counted as levels times bits.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.values import Vector

POSITIVE = {
    1: (0.7978845608,),
    2: (0.4527800399, 1.5104176087),
    3: (0.2450941631, 0.7560052490, 1.3439092614, 2.1519456699),
    4: (
        *(0.1283950167, 0.3880482345, 0.6567589958, 0.9423402689),
        *(1.2562309480, 1.6180460517, 2.0690167302, 2.7325888041),
    ),
}
"""Upper halves of the centroids for N(0, 1), mathematical constants (Lloyd 1957, Max 1960)."""

EXPLAINED = {0: 0.0, 1: 0.6366197724, 2: 0.8825181522, 3: 0.9654522392, 4: 0.9904989920}
"""E[Z Q(Z)] of each table."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What would be sent."""

    scale: np.float32
    levels: NDArray[np.int64]
    size: int
    bits: float

    @property
    def wire_bits(self) -> float:
        """Per coordinate of the vector, padding counted, seeds and headers not."""
        return (len(self.levels) * max(1, int(self.bits)) + 32) / self.size


def encode(vector: Vector, bits: float, *, seed: int) -> Message:
    """1, 2, 3 or 4 bits, or a share of the coordinates at 1 bit below that; `vector` is not 0."""
    rng = np.random.default_rng(seed)
    kept = vector
    if bits < 1:
        kept = vector[rng.random(len(vector)) < bits] / np.float32(bits)
    rotated = _rotate(kept, rng)
    norm = np.sqrt(np.sum(rotated.astype(np.float64) ** 2))
    table = _table(int(max(bits, 1)))
    normal = rotated * np.float32(np.sqrt(len(rotated)) / norm)
    levels = np.searchsorted((table[1:] + table[:-1]) / 2, normal)
    scale = norm**2 / np.sum(rotated * table[levels], dtype=np.float64)
    return Message(np.float32(scale), levels, len(vector), bits)


def decode(message: Message, *, seed: int) -> Vector:
    """The estimate of the vector."""
    rng = np.random.default_rng(seed)
    table = _table(int(max(message.bits, 1)))
    mask = rng.random(message.size) < message.bits if message.bits < 1 else None
    count = message.size if mask is None else int(np.count_nonzero(mask))
    signs = _signs(len(message.levels), rng)
    values = (hadamard(table[message.levels] * message.scale) * signs)[:count]
    if mask is None:
        return values
    vector = np.zeros(message.size, np.float32)
    vector[mask] = values
    return vector


def hadamard(values: Vector) -> Vector:
    """Orthonormal Walsh-Hadamard transform of a power-of-two length, as a new array."""
    result = values.astype(np.float32)
    half = 1
    while half < len(result):
        pairs = result.reshape(-1, 2, half)
        low = pairs[:, 0].copy()
        pairs[:, 0] += pairs[:, 1]
        np.subtract(low, pairs[:, 1], out=pairs[:, 1])
        half *= 2
    result /= np.float32(np.sqrt(len(result)))
    return result


def error_of_eden(bits: float) -> float:
    """EDEN's vNMSE at exactly `bits` on the wire, no padding and no header: kinder than it is.

    Between whole numbers of bits coordinates are mixed, below one bit they are sampled.
    """
    if bits < 1:
        return 1 / (EXPLAINED[1] * bits) - 1
    low = min(int(bits), 3)
    share = min(bits - low, 1.0)
    return 1 / ((1 - share) * EXPLAINED[low] + share * EXPLAINED[low + 1]) - 1


def _rotate(values: Vector, rng: np.random.Generator) -> Vector:
    size = 1 << max(len(values) - 1, 0).bit_length()
    padded = np.zeros(size, np.float32)
    padded[: len(values)] = values
    return hadamard(padded * _signs(size, rng))


def _signs(size: int, rng: np.random.Generator) -> Vector:
    return rng.integers(0, 2, size, dtype=np.int8).astype(np.float32) * np.float32(2) - np.float32(
        1
    )


def _table(bits: int) -> NDArray[np.float32]:
    upper = np.array(POSITIVE[bits], np.float32)
    return np.concatenate([-upper[::-1], upper])
