"""float32 is exact; float16 keeps eleven bits of every coordinate near the chunk's largest."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_sdk.codecs import Float16, Float32
from edge_sdk.errors import Misuse
from edge_sdk.testing.codecs import decode_all
from edge_sdk.values import Vector

finite = arrays.arrays(
    np.float32,
    st.integers(1, 300),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@given(vector=finite, chunk_bytes=st.integers(4, 500))
def test_float32_is_exact(vector: Vector, chunk_bytes: int) -> None:
    payloads = Float32().encode(vector, seed=0, chunk_bytes=chunk_bytes)
    assert all(len(payload) <= chunk_bytes for payload in payloads)
    assert decode_all(Float32(), payloads, len(vector), 0).tobytes() == vector.tobytes()


@given(vector=finite, chunk_bytes=st.integers(6, 500))
def test_float16_error_is_within_the_stated_bound(vector: Vector, chunk_bytes: int) -> None:
    vector = np.clip(vector, np.float32(-(2.0**110)), np.float32(2.0**110))
    payloads = Float16().encode(vector, seed=0, chunk_bytes=chunk_bytes)
    assert all(len(payload) <= chunk_bytes for payload in payloads)
    decoded = decode_all(Float16(), payloads, len(vector), 0).astype(np.float64)
    magnitude = np.abs(vector.astype(np.float64))
    allowed = np.maximum(magnitude * 2.0**-11, magnitude.max() * 2.0**-39) + 2.0**-149
    assert (np.abs(decoded - vector) <= allowed).all()


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1.0, 1e30])
def test_float16_holds_any_magnitude(scale: float) -> None:
    vector = (np.random.default_rng(0).uniform(0.5, 1, 5000) * scale).astype(np.float32)
    payloads = Float16().encode(vector, seed=0, chunk_bytes=1000)
    decoded = decode_all(Float16(), payloads, 5000, 0).astype(np.float64)
    assert np.abs(decoded / vector - 1).max() < 2.0**-11


def test_wire_bytes_are_two_and_four_per_coordinate() -> None:
    vector = np.ones(1000, np.float32)
    assert [len(p) for p in Float32().encode(vector, seed=0, chunk_bytes=2000)] == [2000, 2000]
    assert [len(p) for p in Float16().encode(vector, seed=0, chunk_bytes=1004)] == [1004, 1004]


def test_a_chunk_too_small_for_one_coordinate_is_misuse() -> None:
    with pytest.raises(Misuse):
        Float32().encode(np.ones(3, np.float32), seed=0, chunk_bytes=3)
    with pytest.raises(Misuse):
        Float16().encode(np.ones(3, np.float32), seed=0, chunk_bytes=5)
