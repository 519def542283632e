"""Norm clipping to a running median: composes with sums that are formed as updates arrive.

The limit of a round is fixed when it opens, from the norms of the latest counted updates before it,
and recorded with the round: so replaying the log clips the same. Norms are remembered as they were
before clipping, else the limit could only shrink. As long as fewer than half of those remembered
were sent by bad devices, the median lies between two honest norms.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from edge_sdk.values import Piece

RECENT = 128
"""Norms, and weights, that are remembered."""

LEAST_RECENT = 5
"""Fewer than this say nothing yet."""


def remember(recent: Sequence[float], value: float) -> tuple[float, ...]:
    """`recent` with one more, the oldest forgotten."""
    return (*recent, value)[-RECENT:]


def clip_limit(norms: Sequence[float], *, factor: float, fallback: float) -> float:
    """Longest update of the next round: `factor` times the median of recent norms.

    `fallback` while there are too few norms, or half of them are zero; and at most that ever.
    """
    middle = _median(norms) if len(norms) >= LEAST_RECENT else 0.0
    return min(factor * middle, fallback) if middle else fallback


def most_weight(weights: Sequence[float], *, factor: float) -> float:
    """Largest weight that counts in the next round; no limit while there are too few."""
    return math.inf if len(weights) < LEAST_RECENT else factor * _median(weights)


def clipped(pieces: Iterable[Piece], *, length: float, limit: float) -> list[Piece]:
    """An update of Euclidean norm `length`, shortened to `limit` where it is longer.

    The direction stays. Values are float32 and rounded once, so the norm of the result may exceed
    the limit by one part in ten million.
    """
    if length <= limit:
        return list(pieces)
    scale = limit / length
    return [
        Piece(
            where=piece.where, values=(piece.values.astype(np.float64) * scale).astype(np.float32)
        )
        for piece in pieces
    ]


def _median(values: Sequence[float]) -> float:
    """The lower middle one: it is always a value that was seen."""
    return sorted(values)[(len(values) - 1) // 2]
