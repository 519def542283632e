"""Stages of the sparse codecs: what is written is read back, and costs what it should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.codecs.cursor import Cursor, pack_bits, pack_varint
from edge_sdk.codecs.gaps import (
    ALL_ZERO,
    GOLOMB,
    MAX_NUMBER,
    read_numbers,
    read_positions,
    write_numbers,
    write_positions,
)
from edge_sdk.codecs.huffman import code_lengths, read_symbols, write_symbols
from edge_sdk.codecs.levels import MAX_LEVEL, read_levels, write_levels
from edge_sdk.codecs.reals import read_reals, reals_bytes, write_reals
from edge_sdk.codecs.signs import random_words
from edge_sdk.errors import Corrupt, Malformed, Truncated

MANY = settings(max_examples=150, deadline=None)


@MANY
@given(
    st.lists(st.integers(0, MAX_NUMBER), max_size=40) | st.lists(st.integers(0, 9), max_size=300)
)
def test_whole_numbers_come_back(numbers: list[int]) -> None:
    data = write_numbers(np.array(numbers, np.int64))
    cursor = Cursor(data)
    assert read_numbers(cursor, len(numbers), below=2**32).tolist() == numbers
    cursor.end()


@MANY
@given(st.sets(st.integers(0, 4000), max_size=300))
def test_positions_come_back(positions: set[int]) -> None:
    ordered = sorted(positions)
    cursor = Cursor(write_positions(np.array(ordered, np.int64)))
    assert read_positions(cursor, len(ordered), span=4001).tolist() == ordered
    cursor.end()


@MANY
@given(
    span=st.integers(1, 900),
    density=st.floats(0, 1),
    scale=st.sampled_from([1, 2, 30, MAX_LEVEL]),
    seed=st.integers(0, 99),
)
def test_levels_come_back(span: int, density: float, scale: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(span) < density)
    levels = rng.integers(1, scale + 1, len(positions)) * rng.choice([-1, 1], len(positions))
    cursor = Cursor(write_levels(positions, levels, span=span))
    again = read_levels(cursor, span=span)
    cursor.end()
    assert again[0].tolist() == positions.tolist()
    assert again[1].tolist() == levels.tolist()


@MANY
@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=16))
def test_huffman_codes_are_complete_and_not_longer_than_any_fixed_length(counts: list[int]) -> None:
    lengths = code_lengths(counts)
    assert sum(2.0**-length for length in lengths) == 1
    assert max(lengths) <= 15
    spent = sum(count * length for count, length in zip(counts, lengths, strict=True))
    shares = np.array(counts) / sum(counts)
    entropy = -float(np.sum(shares * np.log2(shares)))
    assert sum(counts) * entropy <= spent * (1 + 1e-9)
    assert spent <= sum(counts) * min(entropy + 1, (len(counts) - 1).bit_length()) * (1 + 1e-9)


@MANY
@given(st.integers(2, 16), st.integers(0, 200), st.integers(0, 99))
def test_symbols_come_back(alphabet: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rare = np.minimum(rng.geometric(0.4, more) - 1, alphabet - 1)
    symbols = rng.permutation(np.concatenate([np.arange(alphabet), rare])).astype(np.uint8)
    counts = np.bincount(symbols, minlength=alphabet).tolist()
    cursor = Cursor(write_symbols(symbols, counts))
    assert read_symbols(cursor, alphabet, len(symbols)).tolist() == symbols.tolist()
    cursor.end()


@pytest.mark.parametrize("density", [0.001, 0.01, 0.1, 0.25, 0.5, 0.9])
def test_levels_of_one_size_cost_little_more_than_their_entropy(density: float) -> None:
    span = 1 << 17
    rng = np.random.default_rng(0)
    positions = np.flatnonzero(rng.random(span) < density)
    levels = rng.choice([-1, 1], len(positions))
    entropy = -density * np.log2(density) - (1 - density) * np.log2(1 - density) + density
    bits = 8 * len(write_levels(positions, levels, span=span))
    assert bits / span < 1.03 * entropy + 0.0005


def test_clustered_positions_cost_less_than_if_they_were_spread() -> None:
    rng = np.random.default_rng(0)
    spread = np.sort(rng.choice(1 << 18, 4096, replace=False))
    clustered = np.sort(rng.choice(1 << 14, 4096, replace=False)) + 200_000
    assert len(write_positions(clustered)) < len(write_positions(spread)) / 2


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("scale", [1e-38, 1.0, 1e30])
def test_reals_come_back_within_their_precision(bits: int, scale: float) -> None:
    values = (np.random.default_rng(0).standard_normal(100) * scale).astype(np.float32)
    data = write_reals(values, bits)
    assert len(data) == reals_bytes(100, bits)
    again = read_reals(Cursor(data), 100, bits)
    largest = float(np.max(np.abs(values)))
    bound = 0 if bits == 32 else np.abs(values.astype(np.float64)) * 2**-11 + largest * 2**-39
    assert (np.abs(again.astype(np.float64) - values) <= bound).all()


def test_random_rounding_to_sixteen_bits_has_the_value_as_its_mean() -> None:
    values = np.array([1.0, 1.0001, 1 / 3, 1000.3], np.float32)
    many = np.repeat(values[np.newaxis], 4096, axis=0).reshape(-1)
    data = write_reals(many, 16, words=random_words(7, first=0, count=len(many)))
    mean = read_reals(Cursor(data), len(many), 16).reshape(4096, -1).mean(axis=0, dtype=np.float64)
    assert np.abs(mean / values - 1).max() < 5 * 2**-11 / np.sqrt(4096)


@MANY
@given(st.integers(0, 2**32 - 1))
def test_varints_come_back_in_their_shortest_form(number: int) -> None:
    data = pack_varint(number)
    assert len(data) == max(1, -(-number.bit_length() // 7))
    assert Cursor(data).varint() == number
    with pytest.raises(Malformed):
        Cursor(data[:-1] + bytes([data[-1] | 0x80, 0])).varint()


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff\x1f", b"\xff\xff\xff\xff\xff\x01", b"\x80"])
def test_varints_over_32_bits_or_cut_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Cursor(data).varint()


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Truncated),
        (bytes([32]), Corrupt),
        (bytes([GOLOMB - 1]), Corrupt),
        (bytes([GOLOMB + 32]), Corrupt),
        (bytes([ALL_ZERO + 1]), Corrupt),
        (bytes([0]) + bytes(1000), Truncated),
        (bytes([0, 0b111]), Corrupt),
        (bytes([3, 0b11]), Truncated),
        (bytes([0, 0, 0, 0b11]), Corrupt),
        (bytes([GOLOMB + 31, 0b11100]), Corrupt),
    ],
    ids=[
        "nothing",
        "mode 32",
        "mode 63",
        "mode 96",
        "mode 129",
        "no prefixes",
        "three prefixes for two",
        "no remainders",
        "too large",
        "33 bits",
    ],
)
def test_bad_numbers_are_refused(data: bytes, error: type[Malformed]) -> None:
    with pytest.raises(error):
        read_numbers(Cursor(data), 2, below=16)


def test_set_padding_bits_are_refused() -> None:
    with pytest.raises(Corrupt):
        Cursor(pack_bits(np.ones(5, np.uint8))).bits(4)


@pytest.mark.parametrize("lengths", [(1, 1, 1), (0, 1), (2, 2, 2), (1, 2, 2, 16), (15, 15)])
def test_code_lengths_that_are_no_complete_code_are_refused(lengths: tuple[int, ...]) -> None:
    with pytest.raises(Corrupt):
        read_symbols(Cursor(bytes(lengths) + bytes(20)), len(lengths), 8)
