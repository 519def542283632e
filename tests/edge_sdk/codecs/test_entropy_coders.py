"""Bits, flags, counts, deflate and coefficients: what goes in comes out, any bytes are survived."""

import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter
from edge_sdk.codecs.deflate import Code, code_lengths, deflate, inflate
from edge_sdk.codecs.rice import (
    MOST_COUNT,
    MOST_NUMBER,
    read_counts,
    read_flags,
    read_rice,
    write_counts,
    write_flags,
    write_rice,
)
from edge_sdk.codecs.symbols import MOST_MAGNITUDE, read_coefficients, write_coefficients
from edge_sdk.errors import Corrupt, Malformed, Truncated

lengths = st.integers(0, 300)


def whole(most: int) -> st.SearchStrategy[NDArray[np.int64]]:
    return arrays.arrays(np.int64, lengths, elements=st.integers(0, most))


def written(write: Callable[[BitWriter], None]) -> bytes:
    writer = BitWriter()
    write(writer)
    return writer.to_bytes()


@given(arrays.arrays(np.bool_, lengths))
def test_flags_come_back(flags: NDArray[np.bool_]) -> None:
    reader = BitReader(written(lambda writer: write_flags(writer, flags)))
    assert np.array_equal(read_flags(reader, len(flags)), flags)
    reader.end()


@given(whole(3) | whole(MOST_COUNT))
def test_counts_come_back(values: NDArray[np.int64]) -> None:
    def write(writer: BitWriter) -> None:
        write_counts(writer, values)

    reader = BitReader(written(write))
    assert np.array_equal(read_counts(reader, len(values)), values)
    reader.end()


@given(whole(MOST_NUMBER).filter(len))
def test_rice_numbers_come_back_and_keep_to_their_sum(values: NDArray[np.int64]) -> None:
    data = written(lambda writer: write_rice(writer, values))
    assert np.array_equal(
        read_rice(BitReader(data), len(values), most_sum=int(values.sum())), values
    )
    if values.sum():
        with pytest.raises(Malformed):
            read_rice(BitReader(data), len(values), most_sum=int(values.sum()) - 1)


@given(
    arrays.arrays(np.int32, lengths, elements=st.integers(-3, 3))
    | arrays.arrays(np.int32, lengths, elements=st.integers(-200, 200))
    | arrays.arrays(np.int32, lengths, elements=st.integers(-MOST_MAGNITUDE, MOST_MAGNITUDE))
)
def test_coefficients_come_back(values: NDArray[np.int32]) -> None:
    reader = BitReader(written(lambda writer: write_coefficients(writer, values)))
    assert np.array_equal(read_coefficients(reader, len(values)), values)
    reader.end()


@pytest.mark.parametrize("scale", [0.2, 0.3, 0.5, 0.8, 1.5, 4, 20, 300, 1e5])
def test_coefficients_of_a_normal_source_take_little_more_than_their_entropy(scale: float) -> None:
    rng = np.random.default_rng(1)
    values = np.rint(scale * rng.standard_normal(1 << 16)).astype(np.int32)
    _, counts = np.unique(values, return_counts=True)
    share = counts / len(values)
    # The plug-in entropy is too low by about half a bit per kind of value (Miller 1955).
    entropy = -len(values) * float(share @ np.log2(share)) + len(counts) / 2 * 1.44
    if scale > 100:  # too many kinds to count: that of the density
        entropy = len(values) * (0.5 * np.log2(2 * np.pi * np.e) + np.log2(scale))
    data = written(lambda writer: write_coefficients(writer, values))
    assert 8 * len(data) < 1.025 * entropy
    assert np.array_equal(read_coefficients(BitReader(data), len(values)), values)


@given(st.binary(max_size=200), st.integers(1, 3000), st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_any_bytes_give_coefficients_or_malformed(data: bytes, count: int, mode: int) -> None:
    payload = bytes([data[0] & ~7 | mode]) + data[1:] if data else data
    for read in (read_coefficients, read_counts, read_flags):
        try:
            assert len(read(BitReader(payload), count)) == count
        except Malformed:
            continue


@given(st.binary(max_size=3000))
def test_any_inflate_reads_what_deflate_writes(data: bytes) -> None:
    octets = np.frombuffer(data, np.uint8)
    stream = deflate(octets)
    assert zlib.decompress(stream, -15) == data
    again, taken = inflate(np.frombuffer(stream + b"more", np.uint8), len(data))
    assert again.tobytes() == data
    assert taken == len(stream)
    counts = np.bincount(octets, minlength=256)
    assert (Code.of(counts).bits(counts) + 7) // 8 == len(stream)


def test_what_zlib_writes_is_read_as_well() -> None:
    data = b"abc" * 1000
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = machine.compress(data) + machine.flush()
    again, taken = inflate(np.frombuffer(stream, np.uint8), len(data))
    assert again.tobytes() == data
    assert taken == len(stream)


def test_inflate_makes_no_more_than_it_was_told_to() -> None:
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = np.frombuffer(machine.compress(bytes(10**7)) + machine.flush(), np.uint8)
    with pytest.raises(Corrupt, match="more than 100"):
        inflate(bomb, 100)
    with pytest.raises(Truncated):
        inflate(bomb[:50], 10**7)


def test_code_words_are_never_longer_than_deflate_allows() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    code = code_lengths(fibonacci, 15)
    assert max(code) <= 15
    assert sum(2.0**-length for length in code) == 1


def test_reading_past_the_end_is_truncated() -> None:
    reader = BitReader(b"\x01")
    assert reader.number(3) == 1
    with pytest.raises(Truncated):
        reader.number(6)
    with pytest.raises(Truncated):
        reader.planes(2**40, 3)
    with pytest.raises(Truncated):
        reader.ones(2**40, most=2**41)


def test_left_over_bits_are_corrupt() -> None:
    with pytest.raises(Corrupt):
        BitReader(b"\x00\x00").end()
    reader = BitReader(b"\x81")
    reader.number(3)
    with pytest.raises(Corrupt):
        reader.end()
