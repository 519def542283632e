"""The server's side of Artemis memories: each device's own, and their mean. Pure.

Philippenko and Dieuleveut, arXiv 2006.14591, variant PP2: a device sends C(D - h) and both sides
move h by `speed` times what was decoded, in the coordinates whose chunks were counted. The round's
mean of D is the mean of all memories plus the mean of what was decoded; who did not take part is
represented by its memory. (Their code moves the mean of memories 1/p times too fast; here it stays
the mean of what devices hold.)

The server keeps the sum of weight times memory over all devices, in float64, and each device's own
memory where it can be subtracted again: when the device lost its state, or never comes back.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs import codec_from_spec
from edge_sdk.codecs.auto import auto_from_spec, candidates
from edge_sdk.codecs.memory import artemis_speed, squared_norm
from edge_sdk.plan import Segment, Spans
from edge_sdk.values import Piece, Place, Vector


@dataclasses.dataclass(frozen=True, slots=True)
class Remembered:
    """What a device's memory counts in the mean."""

    weight: float
    """As its latest update was weighed."""
    segments: tuple[int, ...]
    """Those in which it was ever moved."""


def moved(memory: Vector, where: Spans, pieces: Iterable[Piece], *, speed: float) -> Vector:
    """A device's memory after an update: the same float32 operations as on the device.

    Args:
        memory: of the whole model; not changed.
        where: the update's stage in it.
        pieces: what was decoded and counted, in the order of the chunks.
        speed: share that is taken over.
    """
    part = where.take(memory)
    for piece in pieces:
        piece.where.add(piece.values * np.float32(speed), part)
    after = memory.copy()
    where.put(part, after)
    return after


def exchange(
    total: NDArray[np.float64],
    before: tuple[float, Vector] | None,
    after: tuple[float, Vector] | None,
) -> None:
    """Take a device's weight and memory out of the sum and put the new ones in, in place."""
    if before is not None:
        total -= before[0] * before[1].astype(np.float64)
    if after is not None:
        total += after[0] * after[1].astype(np.float64)


def mean_of_all(
    total: NDArray[np.float64],
    remembered: Mapping[str, Remembered],
    segments: Sequence[Segment],
    *,
    fleet: int,
) -> NDArray[np.float64]:
    """The mean of the fleet's memories, devices without one counted as zeros.

    In each segment the mean is over the devices that reach it; those never seen are taken to be
    like those that were, in weight and in what they reach.

    Args:
        total: sum of weight times memory over `remembered`.
        remembered: devices whose memory is not zero.
        segments: of the plan.
        fleet: devices there are, at least those.
    """
    mean = np.zeros_like(total)
    if not remembered:
        return mean
    unseen = max(fleet, len(remembered)) / len(remembered)
    for segment in segments:
        weight = sum(one.weight for one in remembered.values() if segment.number in one.segments)
        if weight > 0:
            for first, size in segment.where.runs:
                mean[first : first + size] = total[first : first + size] / (weight * unseen)
    return mean


def default_speed(codecs: Sequence[str]) -> float:
    """Speed of the memories for updates in any of these codecs: 1 / (2 (1 + v)).

    v is the largest of their errors on normal values, measured once; codes that adapt to what they
    are given have less on real updates, so this is on the safe side.
    """
    return artemis_speed(max(_error(spec) for spec in codecs))


def _error(spec: str) -> float:
    auto = auto_from_spec(spec)
    codec = codec_from_spec(candidates(auto.rate)[0] if auto else spec)
    vector = np.random.Generator(np.random.PCG64(1)).standard_normal(_PROBE).astype(np.float32)
    payloads = codec.encode(vector, seed=1, chunk_bytes=_PROBE_CHUNK_BYTES)
    left = vector
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(_PROBE, index, len(payloads), 1))
        piece.where.add(np.negative(piece.values), left)
    return squared_norm(left) / _PROBE


_PROBE = 1 << 16
_PROBE_CHUNK_BYTES = 1 << 16
