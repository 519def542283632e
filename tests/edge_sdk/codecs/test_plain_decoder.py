"""A decoder written from FORMAT.md alone agrees with the codecs bit for bit."""

import struct

import numpy as np
import pytest

from edge_sdk.codecs import Eden, Float16, Float32
from edge_sdk.codecs.eden_mixed import EdenMixed
from edge_sdk.codecs.eden_scales import Scale
from edge_sdk.values import Place
from tests.edge_sdk.codecs.plain_decoder import (
    decode_eden,
    decode_float16,
    decode_float32,
    decode_mixed_eden,
)

SEED = 0x1234567890ABC


def bits_of(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_eden_small_blocks(bits: int, rounds: int) -> None:
    vector = np.random.default_rng(bits).standard_normal(1024 + 256 + 64 + 3).astype(np.float32)
    vector[64:128] = 0
    codec = Eden(bits, rounds)
    payloads = codec.encode(vector, seed=SEED, chunk_bytes=700)
    assert len(payloads) > 1
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(len(vector), index, len(payloads), SEED))
        first, values = decode_eden(
            payload,
            codec.parameter,
            dimension=len(vector),
            index=index,
            count=len(payloads),
            seed=SEED,
        )
        assert first == piece.where.first
        assert bits_of(values) == piece.values.tobytes()


def test_eden_large_blocks_and_a_tail() -> None:
    vector = np.random.default_rng(9).standard_normal(2 * 4096 + 100).astype(np.float32)
    codec = Eden(3)
    (payload,) = codec.encode(vector, seed=SEED, chunk_bytes=65536)
    piece = codec.decode(payload, Place(len(vector), 0, 1, SEED))
    first, values = decode_eden(
        payload, codec.parameter, dimension=len(vector), index=0, count=1, seed=SEED
    )
    assert first == 0
    assert bits_of(values) == piece.values.tobytes()


@pytest.mark.parametrize(
    ("codec", "chunk_bytes"),
    [
        (EdenMixed(0.05), 456),
        (EdenMixed(0.5, scale=Scale.MSE), 456),
        (EdenMixed(1.5, rounds=1), 456),
        (EdenMixed(4.9, rounds=3, scale=Scale.NORM), 700),
        (EdenMixed(6.7), 700),
        (EdenMixed(0.1), 65_480),
        (EdenMixed(2.3), 65_480),
    ],
    ids=lambda x: getattr(x, "spec", str(x)),
)
def test_mixed_eden(codec: EdenMixed, chunk_bytes: int) -> None:
    size = 4096 + 1024 + 256 + 64 + 3
    vector = np.random.default_rng(3).standard_normal(size).astype(np.float32)
    vector[4096:5200] = 0
    payloads = codec.encode(vector, seed=SEED, chunk_bytes=chunk_bytes)
    for index, payload in list(enumerate(payloads))[-3:]:
        piece = codec.decode(payload, Place(size, index, len(payloads), SEED))
        first, values = decode_mixed_eden(
            payload, codec.parameter, dimension=size, index=index, count=len(payloads), seed=SEED
        )
        assert first == piece.where.first
        assert bits_of(values) == piece.values.tobytes()


@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-20, 1.0, 1e30])
def test_plain_numbers(scale: float) -> None:
    vector = (np.random.default_rng(0).standard_normal(200) * scale).astype(np.float32)
    vector[7] = -0.0
    place = Place(200, 0, 1, SEED)
    (exact,) = Float32().encode(vector, seed=SEED, chunk_bytes=4096)
    assert bits_of(decode_float32(exact)) == vector.tobytes()
    (halves,) = Float16().encode(vector, seed=SEED, chunk_bytes=4096)
    assert bits_of(decode_float16(halves)) == Float16().decode(halves, place).values.tobytes()
