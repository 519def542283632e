"""Time beside textbook EDEN, taking turns in one run, and peak memory."""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import numpy as np

from benchmarks import textbook_eden
from benchmarks.contenders import decoded, encode_once
from edge_sdk.codecs import Dithered, Eden, EdenMixed, RotatedSum, decode_onto, with_shared_rotation
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.interfaces import Codec
from edge_sdk.values import Place, Vector

Row = dict[str, float | str]
Result = TypeVar("Result")

CODECS: tuple[tuple[float, Codec], ...] = (
    (1, Eden(1)),
    (4, Eden(4)),
    (0.1, EdenMixed(0.1)),
    (1, EdenMixed(1.5)),
    (1, EdenEntropy(1.0)),
    (0.1, Blockwise(0.1)),
    (1, Blockwise(1.0)),
    (4, Blockwise(4.0)),
    (1, DeadZone(1.0)),
)
"""With the bits at which textbook EDEN is run beside it."""


def speed_rows(*, quick: bool) -> Iterator[Row]:
    """Milliseconds of processor time per million coordinates; `x EDEN`: how many times faster."""
    for power, repeats in ((16, 3), (20, 1)) if quick else ((16, 9), (20, 3), (24, 1)):
        vector = np.random.default_rng(power).standard_normal(1 << power, np.float32)
        for bits, codec in CODECS:
            yield {
                "size": f"2^{power}",
                "codec": codec.spec,
                **_times(codec, bits, vector, repeats),
            }


def _times(codec: Codec, bits: float, vector: Vector, repeats: int) -> dict[str, float]:
    """Least times of ours and of the textbook's, in turns."""
    least = dict.fromkeys(("encode", "decode", "book encode", "book decode"), float("inf"))
    for seed in range(repeats):
        payloads, took = _timed(partial(encode_once, codec, vector, seed=seed))
        least["encode"] = min(least["encode"], took)
        message, took = _timed(partial(textbook_eden.encode, vector, bits, seed=seed))
        least["book encode"] = min(least["book encode"], took)
        _, took = _timed(partial(decoded, codec, payloads, len(vector), seed=seed))
        least["decode"] = min(least["decode"], took)
        _, took = _timed(partial(textbook_eden.decode, message, seed=seed))
        least["book decode"] = min(least["book decode"], took)
    per_million = 1e9 / len(vector)
    return {
        "encode ms/M": least["encode"] * per_million,
        "x EDEN": least["book encode"] / least["encode"],
        "decode ms/M": least["decode"] * per_million,
        "x EDEN dec": least["book decode"] / least["decode"],
    }


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    started = time.process_time()
    result = work()
    return result, time.process_time() - started


ROTATION_SEED = 7


def round_rows(*, quick: bool) -> Iterator[Row]:
    """What a server spends to sum a round: one by one, and under a rotation that all share."""
    size, devices = 1 << (18 if quick else 20), 5 if quick else 20
    rng = np.random.default_rng(6)
    vector = rng.standard_normal(size, np.float32)
    for rate in (1.5, 3.0):
        codec = with_shared_rotation(Dithered(rate), ROTATION_SEED)
        if not isinstance(codec, Dithered):
            raise TypeError(codec)
        updates = [encode_once(codec, vector, seed=seed) for seed in range(devices)]
        _, singly = _timed(partial(_summed, codec, updates, size))
        _, together = _timed(partial(_summed_rotated, codec, updates, size))
        yield {
            "size": f"2^{size.bit_length() - 1}",
            "codec": f"dithered:rate={rate}",
            "devices": float(devices),
            "one by one ms/M": singly * 1e9 / size / devices,
            "shared ms/M": together * 1e9 / size / devices,
        }


def _summed(codec: Codec, updates: list[list[bytes]], size: int) -> Vector:
    onto, covered = np.zeros(size), np.zeros(size)
    for seed, payloads in enumerate(updates):
        for index, payload in enumerate(payloads):
            place = Place(size, index, len(payloads), seed)
            decode_onto(codec, payload, place, onto=onto, weight=1.0, covered=covered)
    return (onto / covered).astype(np.float32)


def _summed_rotated(codec: Dithered, updates: list[list[bytes]], size: int) -> Vector:
    total = RotatedSum(size, rotation_seed=ROTATION_SEED)
    onto, covered = np.zeros(size), np.zeros(size)
    for seed, payloads in enumerate(updates):
        for index, payload in enumerate(payloads):
            place = Place(size, index, len(payloads), seed)
            total.add(codec.decode_rotated(payload, place), 1.0)
    total.add_onto(onto, covered)
    return (onto / covered).astype(np.float32)


def memory_rows(*, quick: bool) -> Iterator[Row]:
    """Peak MiB that numpy and Python take on top of what is there already.

    While encoding, payloads included; while decoding chunk by chunk into an existing vector.
    """
    power = 20 if quick else 24
    vector = np.random.default_rng(5).standard_normal(1 << power, np.float32)
    into = np.zeros(len(vector), np.float32)
    for _, codec in CODECS:
        payloads, encoding = _peak(partial(encode_once, codec, vector, seed=1))
        _, decoding = _peak(partial(_decode_into, codec, payloads, into))
        yield {
            "size": f"2^{power}",
            "codec": codec.spec,
            "vector MiB": vector.nbytes / 2**20,
            "encode MiB": encoding,
            "of it payload": sum(map(len, payloads)) / 2**20,
            "decode MiB": decoding,
        }


def _decode_into(codec: Codec, payloads: list[bytes], into: Vector) -> None:
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(len(into), index, len(payloads), 1))
        piece.where.put(piece.values, into)


def _peak(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result and the most MiB allocated at once on the way, result included."""
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()
