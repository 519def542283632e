"""Whatever bytes come in, the block codecs give finite values or `Malformed`, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.lowrank_factors import Matrix
from edge_sdk.errors import Malformed
from edge_sdk.interfaces import Codec
from edge_sdk.values import Place

CODECS: dict[str, Codec] = {
    "blockwise": Blockwise(1.0),
    "lowrank": LowRank(1.0, (Matrix(0, 40, 30),)),
    "eden-entropy": EdenEntropy(1.0),
}
SIZE = 1500


def good_payload(codec: Codec) -> bytes:
    rng = np.random.default_rng(0)
    vector = rng.standard_normal(SIZE) + np.outer(np.arange(50), np.arange(30)).reshape(-1) / 99
    return codec.encode(vector.astype(np.float32), seed=1, chunk_bytes=65_480)[0]


PAYLOADS = {name: good_payload(codec) for name, codec in CODECS.items()}


def decode(name: str, payload: bytes, place: Place) -> None:
    try:
        piece = CODECS[name].decode(payload, place)
    except Malformed:
        return
    assert piece.values.shape == (piece.where.size,)
    assert piece.where.end <= place.dimension
    assert np.isfinite(piece.values).all()


places = st.builds(
    lambda dimension, count, index, seed: Place(dimension, index % count, count, seed),
    st.integers(1, 10_000) | st.integers(1, 2**31),
    st.integers(1, 9) | st.integers(1, 65_535),
    st.integers(0, 65_534),
    st.integers(0, 2**53 - 1),
)


@pytest.mark.parametrize("name", CODECS)
@given(data=st.binary(max_size=100), place=places)
def test_any_bytes(name: str, data: bytes, place: Place) -> None:
    decode(name, data, place)


@pytest.mark.parametrize("name", CODECS)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 7)), min_size=1, max_size=4))
def test_flipped_bits(name: str, flips: list[tuple[int, int]]) -> None:
    payload = bytearray(PAYLOADS[name])
    for at, bit in flips:
        payload[at % len(payload)] ^= 1 << bit
    decode(name, bytes(payload), Place(SIZE, 0, 1, 1))


@pytest.mark.parametrize("name", CODECS)
def test_every_cut(name: str) -> None:
    for size in range(len(PAYLOADS[name])):
        with pytest.raises(Malformed):
            CODECS[name].decode(PAYLOADS[name][:size], Place(SIZE, 0, 1, 1))


@pytest.mark.parametrize("name", CODECS)
@given(data=st.binary(min_size=4, max_size=60))
def test_a_few_bytes_take_little_memory(name: str, data: bytes) -> None:
    """The largest chunk that the format allows has 2**22 coordinates: 16 MiB of values."""
    tracemalloc.start()
    decode(name, data, Place(2**22, 0, 1, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20
