"""Dither under a shared rotation: unbiased for everything, errors independent, one inverse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.dithered import Dithered, rotated_size, turn_back
from edge_sdk.codecs.levels import MAX_LEVEL, read_small, write_small
from edge_sdk.codecs.table import codec_from_spec
from edge_sdk.errors import Malformed, Misuse, TooLarge, Unsupported
from edge_sdk.testing.codecs import check_codec
from edge_sdk.values import Place, Vector
from edge_sdk.wire import HEADER_BYTES
from tests.edge_sdk.codecs.plain_sparse_decoder import decode_dithered


def normal(size: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def uneven(size: int) -> Vector:
    rng = np.random.default_rng(3)
    scales = np.repeat(np.exp(rng.standard_normal(-(-size // 4096))), 4096)[:size]
    scales[5 * 4096 : 8 * 4096] = 0
    values: Vector = (rng.standard_normal(size) * scales).astype(np.float32)
    return values


def decoded(codec: Dithered, payloads: list[bytes], size: int, seed: int) -> Vector:
    out = np.full(size, np.nan, np.float32)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(size, index, len(payloads), seed))
        piece.where.put(piece.values, out)
    return out


@pytest.mark.parametrize("rate", [1.5, 4.0])
def test_the_contract_is_kept(rate: float) -> None:
    check_codec(Dithered(rate, rotation=9), draws=100)


@pytest.mark.parametrize(
    ("vector", "chunk_bytes"),
    [
        (normal(1), 456),
        (normal(333), 456),
        (normal(5000) * np.float32(1e29), 2000),
        (normal(100) * np.float32(1e-42), 2000),
        (uneven(40_000), 65_480),
        (np.zeros(70, np.float32), 456),
    ],
    ids=["one", "small blocks", "huge", "subnormal", "uneven", "zeros"],
)
def test_a_decoder_written_from_the_format_agrees_bit_for_bit(
    vector: Vector, chunk_bytes: int
) -> None:
    payloads = Dithered(2.0, rotation=2**32 - 1).encode(vector, seed=77, chunk_bytes=chunk_bytes)
    for index, payload in list(enumerate(payloads))[-2:]:
        place = Place(len(vector), index, len(payloads), 77)
        plain = decode_dithered(
            payload, dimension=len(vector), index=index, count=len(payloads), seed=77
        )
        ours = Dithered(1.0).decode(payload, place).values
        assert ours.tobytes() == np.array(plain, np.float32).tobytes()


@pytest.mark.parametrize(("rate", "limit"), [(1.5, 0.232), (2, 0.107), (3, 0.0255), (4, 0.0064)])
def test_error_and_size_of_normal_values(rate: float, limit: float) -> None:
    vector = normal(1 << 18)
    payloads = Dithered(rate).encode(vector, seed=1, chunk_bytes=65_480)
    bits = 8 * sum(HEADER_BYTES + len(payload) for payload in payloads) / len(vector)
    error = decoded(Dithered(rate), payloads, len(vector), 1) - vector
    assert float(error @ error) / float(vector @ vector) < limit
    assert bits == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("rate", [0.75, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("size", [25_000, 100_000, 300_000])
def test_uneven_vectors_keep_the_rate_and_zero_blocks_stay_zero(size: int, rate: float) -> None:
    vector, wanted = uneven(size), rate * size / 8
    payloads = Dithered(rate).encode(vector, seed=1, chunk_bytes=65_480)
    made = sum(HEADER_BYTES + len(payload) for payload in payloads)
    assert abs(made - wanted) <= max(0.02 * wanted, 64)
    assert not decoded(Dithered(rate), payloads, size, 1)[5 * 4096 : 8 * 4096].any()


@pytest.mark.parametrize("cosine", [0.0, 0.9, 1.0])
def test_errors_of_devices_do_not_add_up_however_alike_they_are(cosine: float) -> None:
    """n times the error of the mean stays the error of one: 11 times it for plain rounding."""
    size, devices, codec = 8192, 20, Dithered(2.0, rotation=4)
    common = normal(size, 100)
    vectors = [
        np.float32(cosine) * common + np.float32(np.sqrt(1 - cosine**2)) * normal(size, device)
        for device in range(devices)
    ]
    errors = [
        decoded(codec, codec.encode(v, seed=device, chunk_bytes=65_480), size, device) - v
        for device, v in enumerate(vectors)
    ]
    mean = np.mean(errors, axis=0, dtype=np.float64)
    single = np.mean([np.sum(error**2) for error in errors])
    assert devices * np.sum(mean**2) / single == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("size", [100, 4096, 20_001])
def test_a_sum_in_the_rotated_domain_turns_back_to_the_sum(size: int) -> None:
    codec = Dithered(3.0, rotation=12)
    total, expected, largest = np.zeros(0), np.zeros(size), 0
    for device in range(5):
        payloads = codec.encode(normal(size, device), seed=device, chunk_bytes=3000)
        for index, payload in enumerate(payloads):
            place = Place(size, index, len(payloads), device)
            rotated = codec.decode_rotated(payload, place)
            if not largest:
                largest = rotated.largest
                total = np.zeros(rotated_size(size, largest))
            assert (rotated.largest, rotated.rotation) == (largest, 12)
            total[rotated.first : rotated.first + len(rotated.values)] += rotated.values
        expected += decoded(codec, payloads, size, device)
    turned = turn_back(total, dimension=size, largest=largest, rotation=12)
    np.testing.assert_allclose(turned, expected, atol=3e-3)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, MAX_LEVEL - 1), min_size=1, max_size=40)
    | st.lists(st.integers(0, 12), min_size=1, max_size=400)
)
def test_small_numbers_come_back(numbers: list[int]) -> None:
    cursor = Cursor(write_small(np.array(numbers, np.int64)))
    assert read_small(cursor, len(numbers)).tolist() == numbers
    cursor.end()


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=80),
    st.sampled_from([64, 256, 1024, 4096]),
    st.integers(1, 9000),
    st.floats(width=32, allow_nan=False),
)
def test_any_bytes_give_values_or_malformed(
    rest: bytes, largest: int, dimension: int, step: float
) -> None:
    head = largest.to_bytes(4, "little") + bytes(4) + np.float32(step).tobytes()
    for payload in (rest, head + rest):
        try:
            piece = Dithered(1.0).decode(payload, Place(dimension, 0, 1, 0))
        except Malformed:
            continue
        assert np.isfinite(piece.values).all()
        assert piece.values.shape == (dimension,)


def test_what_is_out_of_bounds_is_refused() -> None:
    for spec in ("dithered", "dithered:rate=0.5", "dithered:rate=9", "dithered:rate=2,rotation=-1"):
        with pytest.raises(Unsupported):
            codec_from_spec(spec)
    assert codec_from_spec("dithered:rate=2,rotation=7") == Dithered(2.0, 7)
    with pytest.raises(Misuse):
        turn_back(np.zeros(5), dimension=5, largest=64, rotation=0)
    (payload,) = Dithered(2.0).encode(np.ones(50, np.float32), seed=0, chunk_bytes=512)
    with pytest.raises(TooLarge):
        Dithered(2.0).decode(payload, Place(2**31, 0, 1, 0))
