"""Every codec at a wire rate: families whose parameter is not a rate are tuned to one."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edge_sdk.codecs import EdenMixed, Float16, Float32
from edge_sdk.codecs.auto import choose
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.dithered import LEAST_RATE as LEAST_DITHERED
from edge_sdk.codecs.dithered import Dithered
from edge_sdk.codecs.eden_entropy import LEAST_RATE as LEAST_EDEN_ENTROPY
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.lowrank import LowRank, matrices_of
from edge_sdk.codecs.qsgd import Qsgd
from edge_sdk.codecs.sign import Sign
from edge_sdk.codecs.topk import RandomK, TopK
from edge_sdk.interfaces import Codec
from edge_sdk.values import Layout, Place, Vector
from edge_sdk.wire import HEADER_BYTES

RATES = (0.03, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0)

CHUNK_BYTES = 65_536 - HEADER_BYTES
"""What a frame of 64 KiB leaves for a payload."""

_TUNED_ON = 1 << 17
"""Coordinates on which a share is tuned; the rest of a longer vector is assumed to be alike."""
_LARGEST_SHARE = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """A vector, and where its tensors lie (None for a plain vector)."""

    vector: Vector
    layout: Layout | None = None


At = Callable[[float, Subject], Codec | None]
"""The codec of a family at so many wire bits for a subject; None where it cannot do that."""


def encode_once(codec: Codec, vector: Vector, *, seed: int) -> list[bytes]:
    """The payloads of `vector` in frames of the usual size."""
    return list(codec.encode(vector, seed=seed, chunk_bytes=CHUNK_BYTES))


def decoded(codec: Codec, payloads: Sequence[bytes], dimension: int, *, seed: int) -> Vector:
    """The vector that the payloads carry; zero where none covers a coordinate."""
    vector = np.zeros(dimension, np.float32)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(dimension, index, len(payloads), seed))
        piece.where.put(piece.values, vector)
    return vector


def wire_bits(payloads: Sequence[bytes], dimension: int) -> float:
    """Bits per coordinate of all frames, headers included."""
    return 8 * sum(HEADER_BYTES + len(payload) for payload in payloads) / dimension


def tuned(make: Callable[[float], Codec], rate: float, vector: Vector) -> Codec | None:
    """`make(share)` with the share that needs `rate` wire bits within 2%; None if none does."""
    part = vector[:_TUNED_ON]
    low, high = 1 / len(part), _LARGEST_SHARE
    for _ in range(14):
        share = math.sqrt(low * high)
        codec = make(share)
        ratio = wire_bits(codec.encode(part, seed=0, chunk_bytes=CHUNK_BYTES), len(part)) / rate
        if 0.98 <= ratio <= 1.01:
            return codec
        low, high = (share, high) if ratio < 1 else (low, share)
    return None


def _auto(rate: float, subject: Subject) -> Codec:
    chosen = choose(subject.vector, rate=rate, chunk_bytes=CHUNK_BYTES, layout=subject.layout)
    return chosen.codec


def _lowrank(rate: float, subject: Subject) -> Codec | None:
    return LowRank(rate, matrices_of(subject.layout)) if subject.layout else None


def _fedzip(rate: float, subject: Subject) -> Codec | None:
    return tuned(lambda share: FedZip(share, layout=subject.layout), rate, subject.vector)


FAMILIES: Mapping[str, At] = MappingProxyType(
    {
        "blockwise": lambda rate, _: Blockwise(rate),
        "lowrank": _lowrank,
        "auto": _auto,
        "eden": lambda rate, _: EdenMixed(rate),
        "eden-entropy": lambda rate, _: EdenEntropy(rate) if rate >= LEAST_EDEN_ENTROPY else None,
        "dithered": lambda rate, _: Dithered(rate) if rate >= LEAST_DITHERED else None,
        "randomk": lambda rate, s: tuned(RandomK, rate, s.vector) if rate <= 4 else None,
        "deadzone": lambda rate, _: DeadZone(rate),
        "topk": lambda rate, s: tuned(TopK, rate, s.vector) if rate <= 4 else None,
        "fedzip": lambda rate, s: _fedzip(rate, s) if rate <= 1 else None,
    }
)
"""Families that go to any rate, or to several."""

FIXED: Mapping[str, Codec] = MappingProxyType(
    {
        "sign": Sign(),
        "qsgd-1": Qsgd(levels=1),
        "qsgd-4": Qsgd(levels=4),
        "qsgd-16": Qsgd(levels=16),
        "float16": Float16(),
        "float32": Float32(),
    }
)
"""Codecs whose rate is what it is."""
