"""EDEN at any rate: the error of theory at the bytes it was given, and scales for three aims."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_sdk.codecs import codec_from_frame, codec_from_spec
from edge_sdk.codecs.blocks import Tiling
from edge_sdk.codecs.eden import Eden
from edge_sdk.codecs.eden_mix import Mix, parts_of
from edge_sdk.codecs.eden_mixed import EdenMixed
from edge_sdk.codecs.eden_scales import Scale
from edge_sdk.errors import Corrupt, Malformed, Misuse, TooLarge, Unsupported
from edge_sdk.interfaces import Codec
from edge_sdk.testing.codecs import LARGE_CHUNK_BYTES, check_codec, decode_all, squared_bias
from edge_sdk.values import Place, Vector
from edge_sdk.wire import HEADER_BYTES
from tests.edge_sdk.codecs.test_bias import HEADS, spikes, with_head

EXPLAINED = (0.0, 0.6366197724, 0.8825181522, 0.9654522392, 0.9904989920, 0.9974953)
"""E[Z Q(Z)] of the Lloyd-Max quantizers of 0 to 5 bits."""


def normal(size: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def error(codec: Codec, vector: Vector, seed: int) -> float:
    payloads = codec.encode(vector, seed=seed, chunk_bytes=LARGE_CHUNK_BYTES)
    decoded = decode_all(codec, payloads, len(vector), seed).astype(np.float64)
    return float(np.sum((decoded - vector) ** 2) / np.sum(vector.astype(np.float64) ** 2))


def wire_bytes(codec: Codec, vector: Vector, chunk_bytes: int = LARGE_CHUNK_BYTES) -> int:
    payloads = codec.encode(vector, seed=1, chunk_bytes=chunk_bytes)
    return sum(HEADER_BYTES + len(payload) for payload in payloads)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 1.25, 1.5, 2.3, 3.5, 4.5])
def test_error_is_that_of_a_mixture_of_quantizers_at_the_whole_wire_rate(rate: float) -> None:
    whole = int(rate)
    explained = EXPLAINED[whole] + (rate - whole) * (EXPLAINED[whole + 1] - EXPLAINED[whole])
    errors = [error(EdenMixed(rate), normal(1 << 17, s), s) for s in range(3)]
    overhead = 8 * (2 / 4096 + 60 * np.ceil(rate / 4) / (1 << 17))  # scales, headers
    assert np.mean(errors) < 1.015 * (1 / explained - 1) * (1 + 1.5 * overhead / min(rate, 1))


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1, 0.3, 0.5, 1, 1.5, 2.3, 5, 7.9, 8])
@pytest.mark.parametrize(
    ("size", "chunk_bytes"), [(12_000, 456), (71_754, 16_328), (200_000, 65_480)]
)
def test_rate_is_total_wire_bytes(rate: float, size: int, chunk_bytes: int) -> None:
    wanted = rate * size / 8
    frames = 1 + wanted / (chunk_bytes + HEADER_BYTES)
    overhead = frames * 2 * HEADER_BYTES
    made = wire_bytes(EdenMixed(rate), normal(size), chunk_bytes)
    assert made <= max(1.02 * wanted, wanted + 64)
    if overhead < wanted:  # small frames at low rates: what is left pays for headers and scales
        assert made >= min(0.98 * wanted, wanted - 64)


@pytest.mark.parametrize(
    ("scale", "theory"), [(Scale.UNBIASED, 0.5708), (Scale.MSE, 0.36338), (Scale.NORM, 0.4042)]
)
def test_scales_of_one_bit_reach_the_error_of_theory(scale: Scale, theory: float) -> None:
    errors = [error(Eden(1, scale=scale), normal(8192, s), s) for s in range(40)]
    assert np.mean(errors) == pytest.approx(theory, rel=0.01)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.5, 4.2])
def test_aims_are_reached(rate: float) -> None:
    vector = normal(8192)
    energy = float(np.sum(vector.astype(np.float64) ** 2))
    by_scale = {}
    for scale in Scale:
        codec = EdenMixed(rate, scale=scale)
        payloads = codec.encode(vector, seed=1, chunk_bytes=LARGE_CHUNK_BYTES)
        decoded = decode_all(codec, payloads, len(vector), 1).astype(np.float64)
        by_scale[scale] = float(np.sum((decoded - vector) ** 2)) / energy
        if scale is Scale.NORM:
            assert float(np.sum(decoded**2)) == pytest.approx(energy, rel=0.01)
        if scale is Scale.UNBIASED:
            assert float(decoded @ vector) == pytest.approx(energy, rel=0.01)
    assert by_scale[Scale.MSE] < min(1.0, by_scale[Scale.NORM], by_scale[Scale.UNBIASED])


def test_payloads_of_all_scales_decode_alike() -> None:
    """What the server tells a device changes nothing for whoever reads the frames."""
    for codec in (Eden(2, scale=Scale.MSE), EdenMixed(0.5, 3, Scale.NORM)):
        payloads = codec.encode(normal(5000), seed=1, chunk_bytes=LARGE_CHUNK_BYTES)
        reader = codec_from_frame(2, codec.parameter)
        assert not codec.unbiased
        assert np.array_equal(
            decode_all(reader, payloads, 5000, 1), decode_all(codec, payloads, 5000, 1)
        )


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
def test_few_large_values_among_zeros_are_unbiased(head: tuple[float, ...]) -> None:
    bias, deviation = squared_bias(EdenMixed(0.25), with_head(4096, *head), draws=300)
    assert bias - 5 * deviation < 0.002
    assert abs(bias) < 0.02


def test_300_spikes_are_unbiased() -> None:
    bias, deviation = squared_bias(EdenMixed(0.5), spikes(8192, 300), draws=200)
    assert bias - 5 * deviation < 0.002
    assert abs(bias) < 0.01


def test_one_round_is_biased_on_few_values_and_says_so() -> None:
    codec = EdenMixed(1.5, rounds=1)
    assert not codec.unbiased
    bias, deviation = squared_bias(codec, with_head(1024, 1, 0.5), draws=200)
    assert bias - 5 * deviation > 0.01


@pytest.mark.parametrize(
    "spec", ["eden:rate=0.05", "eden:rate=2.3,scale=mse", "eden:rate=0.5,rounds=1,scale=norm"]
)
def test_the_contract_is_kept(spec: str) -> None:
    check_codec(codec_from_spec(spec))


def test_the_spread_on_uneven_vectors_is_small() -> None:
    """Sampling before the rotation, as the authors' program does, spreads ten times as far."""
    vector = np.random.default_rng(1).lognormal(0, 2.5, 65_536).astype(np.float32)
    errors = [error(EdenMixed(0.1), vector, seed) for seed in range(20)]
    assert np.std(errors) < 0.15 * float(np.mean(errors))


def test_a_missing_chunk_leaves_the_others_as_they_are() -> None:
    vector, codec = normal(50_000), EdenMixed(0.5)
    payloads = codec.encode(vector, seed=3, chunk_bytes=600)
    whole = decode_all(codec, payloads, len(vector), 3)
    alone = codec.decode(payloads[2], Place(len(vector), 2, len(payloads), 3))
    assert np.array_equal(alone.where.take(whole), alone.values)


@given(
    level=st.integers(0, 8 * 65_536 - 1),
    dimension=st.integers(1, 20_000),
    index=st.integers(0, 50),
    seed=st.integers(0, 2**53 - 1),
)
def test_the_mask_has_an_exact_count_and_covers_each_coordinate_once(
    level: int, dimension: int, index: int, seed: int
) -> None:
    mix, tiling = Mix(level), Tiling(dimension, 4096)
    parts = parts_of(mix, tiling, Place(dimension, index, 51, seed))
    for size, _ in tiling.groups():
        assert len(parts[0].columns[size]) == mix.finer(size) <= size
        joined = np.concatenate([part.columns[size] for part in parts])
        assert len(np.unique(joined)) == len(joined)
        assert len(joined) == (size if mix.bits else mix.finer(size))


@given(
    vector=arrays.arrays(
        np.float32,
        st.integers(1, 400),
        elements=st.floats(-(2.0**105), 2.0**105, width=32, allow_subnormal=True),
    ),
    rate=st.floats(0.02, 8),
    scale=st.sampled_from(Scale),
    seed=st.integers(0, 2**53 - 1),
    chunk_bytes=st.integers(100, 700),
)
@settings(max_examples=150)
def test_any_finite_vector_comes_back_finite_and_not_too_long(
    vector: Vector, rate: float, scale: Scale, seed: int, chunk_bytes: int
) -> None:
    codec = EdenMixed(rate, scale=scale)
    payloads = codec.encode(vector, seed=seed, chunk_bytes=chunk_bytes)
    assert all(len(payload) <= chunk_bytes for payload in payloads)
    decoded = decode_all(codec, payloads, len(vector), seed).astype(np.float64)
    assert np.isfinite(decoded).all()
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    assert float(np.linalg.norm(decoded)) <= 60 * norm + 1e-40


@given(
    payload=st.binary(max_size=300),
    head=st.tuples(st.integers(0, 3), st.integers(0, 7)),
    dimension=st.integers(1, 3000),
)
def test_any_bytes_are_a_piece_or_malformed(
    payload: bytes, head: tuple[int, int], dimension: int
) -> None:
    for content in (payload, bytes([head[0] | head[1] << 2]) + payload):
        try:
            piece = EdenMixed(1.0).decode(content, Place(dimension, 0, 1, 0))
        except Malformed:
            continue
        assert np.isfinite(piece.values).all()


def test_a_set_bit_after_the_last_code_is_corrupt() -> None:
    (payload,) = EdenMixed(3.3).encode(normal(300), seed=0, chunk_bytes=1000)
    place = Place(300, 0, 1, 0)
    EdenMixed(1.0).decode(payload, place)
    mix = Mix((payload[0] >> 2) * 65_536 + int.from_bytes(payload[1:3], "little"))
    coarser = 320 - mix.finer(256) - mix.finer(64)
    assert mix.bits * coarser % 8, "the test needs a filled byte"
    with pytest.raises(Corrupt):
        EdenMixed(1.0).decode(payload[:-1] + bytes([payload[-1] | 0x80]), place)


def test_a_few_bytes_cannot_ask_for_gigabytes() -> None:
    (payload,) = EdenMixed(0.1).encode(normal(100), seed=0, chunk_bytes=1000)
    with pytest.raises(TooLarge):
        EdenMixed(1.0).decode(payload, Place(2**31, 0, 1, 0))


def test_specs_name_rate_rounds_and_scale() -> None:
    assert codec_from_spec("eden:rate=1.5") == EdenMixed(1.5)
    assert codec_from_spec("eden:scale=mse,bits=1") == Eden(1, scale=Scale.MSE)
    assert codec_from_spec("eden:rounds=1,bits=2") == Eden(2, rounds=1)
    assert EdenMixed(0.05, 1, Scale.NORM).spec == "eden:rate=0.05,rounds=1,scale=norm"
    for spec in (
        "eden:rate=0.01",
        "eden:rate=8.1",
        "eden:rate=nan",
        "eden:bits=2,rate=2",
        "eden:bits=1,scale=best",
        "eden:rate=1,rounds=4",
    ):
        with pytest.raises(Unsupported):
            codec_from_spec(spec)


def test_a_chunk_too_small_for_any_block_is_misuse() -> None:
    with pytest.raises(Misuse):
        EdenMixed(8.0).encode(np.ones(70, np.float32), seed=0, chunk_bytes=80)


def test_bytes_are_the_same_on_every_machine() -> None:
    """Pins what this encoder writes; a change here is a change of every golden file."""
    digest = hashlib.sha256()
    vector = (np.arange(9001) % 251 - 125).astype(np.float32)
    for codec in (EdenMixed(0.1), EdenMixed(2.3, scale=Scale.MSE), EdenMixed(6.6, 1, Scale.NORM)):
        for payload in codec.encode(vector, seed=9, chunk_bytes=2000):
            digest.update(payload)
    assert digest.hexdigest() == (
        "65856b0efba1b03b7e64266daf94ace6eb9c2aedb75339a04abea6f494108d5e"
    )


@pytest.mark.parametrize("rate", [0.02, 0.1, 1.5])
def test_the_largest_magnitudes_come_back(rate: float) -> None:
    codec = EdenMixed(rate)
    vector = np.full(4096, 2.0**105, np.float32)
    payloads = codec.encode(vector, seed=2, chunk_bytes=LARGE_CHUNK_BYTES)
    assert np.isfinite(decode_all(codec, payloads, 4096, 2)).all()
    with pytest.raises(Misuse, match="magnitude"):
        codec.encode(2 * vector, seed=2, chunk_bytes=LARGE_CHUNK_BYTES)
