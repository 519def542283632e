"""Check for `interfaces.Codec`."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Malformed, Misuse
from edge_sdk.interfaces import Codec
from edge_sdk.testing.promises import promise
from edge_sdk.values import Piece, Place, Vector

SMALL_CHUNK_BYTES = 456
"""The smallest frame a server may ask for, less the frame's header."""
LARGE_CHUNK_BYTES = 65_480

_SPEC = re.compile(r"[a-z][a-z0-9-]{0,31}(:[a-z0-9=.,+-]{1,96})?")


def check_codec(codec: Codec, *, draws: int = 200, allowed_bias: float = 0.002) -> None:
    """Hold `codec` against its contract.

    Args:
        codec: the codec.
        draws: seeds to average over when the codec says it is unbiased.
        allowed_bias: share of the squared norm that the squared bias may be; the check fails when
            the bias is above it by more than five standard deviations of its estimate.

    Raises:
        AssertionError: naming the broken promise.
    """
    promise(_SPEC.fullmatch(codec.spec) is not None, f"spec {codec.spec!r} has the form of a spec")
    promise(isinstance(codec.unbiased, bool), "unbiased is True or False")
    for name, vector in sample_vectors():
        for chunk_bytes in (SMALL_CHUNK_BYTES, LARGE_CHUNK_BYTES):
            _check_round_trip(codec, vector, f"{name}, chunks of {chunk_bytes}", chunk_bytes)
    _check_refusals(codec)
    _check_outside_bytes(codec)
    if codec.unbiased:
        for name, vector in bias_vectors():
            bias, deviation = squared_bias(codec, vector, draws=draws)
            promise(
                bias - 5 * deviation <= allowed_bias,
                f"unbiased on {name}: bias {bias:.4f} ± {deviation:.4f} of the norm, squared",
            )


def sample_vectors() -> Iterator[tuple[str, Vector]]:
    """Vectors of awkward sizes and contents, each with a name."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 63, 64, 65, 100, 257, 1000, 4095, 4096, 4097, 9000):
        yield f"{size} normal values", rng.standard_normal(size).astype(np.float32)
    yield "zeros", np.zeros(777, np.float32)
    yield "one zero", np.zeros(1, np.float32)
    yield "a constant", np.full(500, -0.1, np.float32)
    yield "values of 1e30", (rng.standard_normal(300) * 1e29).clip(-1e30, 1e30).astype(np.float32)
    yield "subnormal values", (rng.standard_normal(300) * 1e-40).astype(np.float32)
    yield "every magnitude", (10.0 ** rng.uniform(-44, 30, 300)).astype(np.float32)
    spikes = np.zeros(5000, np.float32)
    spikes[[0, 17, 4999]] = (1, -0.5, 1e-3)
    yield "three spikes", spikes


def bias_vectors() -> Iterator[tuple[str, Vector]]:
    """Vectors that show the bias of codecs which only look unbiased."""
    for head in ((1.0, 0.5), (1.0, 0.95), (1.0, 1.0, 0.95, 0.95)):
        vector = np.zeros(300, np.float32)
        vector[: len(head)] = head
        yield f"{head} and zeros", vector
    yield "normal values", np.random.default_rng(1).standard_normal(300).astype(np.float32)
    yield "one value", np.array([3.0], np.float32)


def decode_all(codec: Codec, payloads: Sequence[bytes], dimension: int, seed: int) -> Vector:
    """The vector that all `payloads` of one update carry; NaN where none carries anything."""
    whole = np.full(dimension, np.nan, np.float32)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(dimension, index, len(payloads), seed))
        piece.where.put(piece.values, whole)
    return whole


def squared_bias(codec: Codec, vector: Vector, *, draws: int) -> tuple[float, float]:
    """Estimate of |E decoded - vector|**2 / |vector|**2 and its standard deviation.

    The mean product of the errors of two different seeds: free of the noise that the plain error
    of a mean has. Its deviation is that of a U-statistic of an unbiased codec.
    """
    errors: NDArray[np.float64] = np.empty((draws, len(vector)))
    for seed in range(draws):
        payloads = codec.encode(vector, seed=seed, chunk_bytes=LARGE_CHUNK_BYTES)
        errors[seed] = decode_all(codec, payloads, len(vector), seed) - vector.astype(np.float64)
    products = errors @ errors.T
    pairs = products[~np.eye(draws, dtype=bool)]
    energy = float(np.sum(vector.astype(np.float64) ** 2))
    deviation = np.sqrt(2 * np.mean(pairs**2) / len(pairs))
    return float(np.mean(pairs)) / energy, float(deviation) / energy


def _check_round_trip(codec: Codec, vector: Vector, name: str, chunk_bytes: int) -> None:
    before = vector.copy()
    try:
        payloads = codec.encode(vector, seed=5, chunk_bytes=chunk_bytes)
    except Misuse as error:
        raise AssertionError(f"broken promise: encodes {name}, got {error!r}") from error
    promise(np.array_equal(vector, before), f"encode leaves the vector alone ({name})")
    again = codec.encode(before, seed=5, chunk_bytes=chunk_bytes)
    promise(list(again) == list(payloads), f"equal arguments, equal bytes ({name})")
    promise(1 <= len(payloads) <= 65_535, f"1 to 65535 chunks ({name})")
    promise(
        all(isinstance(p, bytes) and 1 <= len(p) <= chunk_bytes for p in payloads),
        f"payloads are bytes, at least one and at most chunk_bytes ({name})",
    )
    covered = np.zeros(len(vector), np.float32)
    values = np.zeros(len(vector), np.float32)
    for index in reversed(range(len(payloads))):
        place = Place(len(vector), index, len(payloads), 5)
        try:
            piece = codec.decode(payloads[index], place)
        except Malformed as error:
            raise AssertionError(f"broken promise: decodes its own {name}: {error!r}") from error
        _check_piece(piece, place, name)
        piece.where.put(piece.values, values)
        piece.where.add(np.ones(piece.where.size, np.float32), covered)
    promise(bool((covered == 1).all()), f"chunks carry every coordinate exactly once ({name})")
    if not vector.any():
        promise(not values.any(), f"zeros come back as zeros ({name})")


def _check_piece(piece: Piece, place: Place, name: str) -> None:
    promise(piece.values.dtype == np.float32, f"decoded values are float32 ({name})")
    promise(piece.values.shape == (piece.where.size,), f"one value per coordinate ({name})")
    promise(piece.where.end <= place.dimension, f"coordinates lie within the vector ({name})")
    promise(bool(np.isfinite(piece.values).all()), f"decoded values are finite ({name})")


def _check_refusals(codec: Codec) -> None:
    good = np.ones(10, np.float32)
    for seed, chunk_bytes in ((-1, LARGE_CHUNK_BYTES), (2**53, LARGE_CHUNK_BYTES), (0, 0)):
        try:
            codec.encode(good, seed=seed, chunk_bytes=chunk_bytes)
        except Misuse:
            continue
        text = f"encode refuses seed {seed} with chunks of {chunk_bytes} bytes with Misuse"
        promise(kept=False, text=text)
    wrong: list[tuple[str, Any]] = [
        ("NaN", np.where(np.arange(10) == 3, np.nan, good).astype(np.float32)),
        ("infinity", np.where(np.arange(10) == 9, -np.inf, good).astype(np.float32)),
        ("float64", np.ones(10)),
        ("two dimensions", np.ones((2, 5), np.float32)),
        ("no coordinates", np.zeros(0, np.float32)),
    ]
    for name, vector in wrong:
        try:
            codec.encode(vector, seed=0, chunk_bytes=LARGE_CHUNK_BYTES)
        except Misuse:
            continue
        promise(kept=False, text=f"encode refuses {name} with Misuse")


def _check_outside_bytes(codec: Codec) -> None:
    """Whatever comes in, decode gives a good piece or `Malformed`."""
    rng = np.random.default_rng(2)
    vector = rng.standard_normal(1500).astype(np.float32)
    payloads = codec.encode(vector, seed=6, chunk_bytes=1000)
    place = Place(1500, 0, len(payloads), 6)
    payload = payloads[0]
    for cut in range(0, len(payload), max(len(payload) // 20, 1)):
        _check_decode(codec, payload[:cut], place)
    for _ in range(100):
        changed = bytearray(payload)
        for at in rng.integers(0, len(payload), 3):
            changed[at] = int(rng.integers(256))
        _check_decode(codec, bytes(changed), place)
        _check_decode(codec, rng.bytes(int(rng.integers(0, 200))), place)
    _check_decode(codec, payload + b"\0", place)
    for other in (
        Place(1501, 0, len(payloads), 6),
        Place(1, 0, len(payloads), 6),
        Place(2**31, 0, len(payloads), 6),
        Place(2**31 + 1, 0, len(payloads), 6),
        Place(0, 0, 1, 6),
        Place(1500, len(payloads), len(payloads), 6),
        Place(1500, -1, len(payloads), 6),
        Place(1500, 0, 65_535, 6),
        Place(1500, 0, len(payloads), -1),
    ):
        _check_decode(codec, payload, other)


def _check_decode(codec: Codec, payload: bytes, place: Place) -> None:
    try:
        piece = codec.decode(payload, place)
    except Malformed:
        return
    except Exception as error:
        text = f"broken promise: decode gives a piece or Malformed, got {error!r} for {place}"
        raise AssertionError(text) from error
    _check_piece(piece, place, "changed bytes")
