"""A decoder written from FORMAT.md alone agrees with the block codecs bit for bit."""

import struct

import numpy as np
import pytest

from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.lowrank_factors import Matrix
from edge_sdk.values import Place, Vector
from tests.edge_sdk.codecs.plain_block_decoder import (
    decode_blockwise,
    decode_eden_entropy,
    decode_lowrank,
)

SEED = 0x1234567890ABC


def bits_of(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def uneven(size: int) -> Vector:
    """Blocks of very different energies, some of them zero."""
    rng = np.random.default_rng(size)
    scales = np.exp(2 * rng.standard_normal(-(-size // 64))).repeat(64)[:size]
    scales[200:500] = 0
    return (scales * rng.standard_normal(size)).astype(np.float32)


@pytest.mark.parametrize("rate", [0.1, 0.7, 2.5, 8.0])
@pytest.mark.parametrize("size", [100, 3000])
def test_blockwise_on_uneven_blocks(size: int, rate: float) -> None:
    vector = uneven(size)
    codec = Blockwise(rate)
    payloads = codec.encode(vector, seed=SEED, chunk_bytes=500)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(size, index, len(payloads), SEED))
        numbers = np.full(size, np.nan, np.float32)
        piece.where.put(piece.values, numbers)
        found = decode_blockwise(
            payload, dimension=size, index=index, count=len(payloads), seed=SEED
        )
        assert sorted(found) == np.flatnonzero(~np.isnan(numbers)).tolist()
        assert bits_of([found[i] for i in sorted(found)]) == numbers[sorted(found)].tobytes()


@pytest.mark.parametrize("rate", [0.3, 3.0])
def test_blockwise_on_large_blocks(rate: float) -> None:
    vector = np.random.default_rng(3).standard_normal(2 * 4096 + 100).astype(np.float32)
    codec = Blockwise(rate)
    (payload,) = codec.encode(vector, seed=SEED, chunk_bytes=65_480)
    piece = codec.decode(payload, Place(len(vector), 0, 1, SEED))
    found = decode_blockwise(payload, dimension=len(vector), index=0, count=1, seed=SEED)
    assert bits_of([found[i] for i in range(len(vector))]) == piece.values.tobytes()


def test_blockwise_with_many_strong_blocks() -> None:
    """Strong enough for shifted coefficients and a Huffman code of levels."""
    vector = uneven(64 * 200) * np.float32(1e20)
    codec = Blockwise(8.0)
    (payload,) = codec.encode(vector, seed=SEED, chunk_bytes=65_480)
    piece = codec.decode(payload, Place(len(vector), 0, 1, SEED))
    found = decode_blockwise(payload, dimension=len(vector), index=0, count=1, seed=SEED)
    assert bits_of([found[i] for i in range(len(vector))]) == piece.values.tobytes()


@pytest.mark.parametrize("rate", [0.5, 4.0])
def test_low_rank(rate: float) -> None:
    rng = np.random.default_rng(8)
    sides = rng.standard_normal((100, 2)) @ rng.standard_normal((2, 70))
    vector = np.concatenate([uneven(1500), sides.reshape(-1), uneven(600)]).astype(np.float32)
    vector += (0.05 * rng.standard_normal(len(vector))).astype(np.float32)
    codec = LowRank(rate, (Matrix(1500, 100, 70),))
    payloads = codec.encode(vector, seed=SEED, chunk_bytes=2000)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(len(vector), index, len(payloads), SEED))
        first, values = decode_lowrank(
            payload, dimension=len(vector), index=index, count=len(payloads), seed=SEED
        )
        assert first == piece.where.first
        assert bits_of(values) == piece.values.tobytes()


@pytest.mark.parametrize("rate", [0.1, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("chunk_bytes", [500, 65_480])
def test_eden_entropy(chunk_bytes: int, rate: float) -> None:
    vector = uneven(4096 + 1024 + 256 + 64 + 3)
    codec = EdenEntropy(rate)
    payloads = codec.encode(vector, seed=SEED, chunk_bytes=chunk_bytes)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(len(vector), index, len(payloads), SEED))
        first, values = decode_eden_entropy(
            payload, dimension=len(vector), index=index, count=len(payloads), seed=SEED
        )
        assert first == piece.where.first
        assert bits_of(values) == piece.values.tobytes()
