"""Batch messages: what is packed is unpacked, and nothing else ever is."""

import dataclasses
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Corrupt, Malformed, Misuse, TooLarge, Truncated, Unsupported
from edge_sdk.wire.batch import (
    BATCH_HEADER_BYTES,
    BatchKind,
    BatchMessage,
    batch_seed,
    pack_batch,
    unpack_batch,
)

SAMPLE = BatchMessage(
    kind=BatchKind.ACTIVATIONS,
    cut=0,
    codec=64,
    parameter=0,
    run="00000000000000ff",
    round=3,
    batch=7,
    examples=4,
    numbers=10,
    loss=1.5,
    payload=b"payload",
    targets=b"0123",
)


def golden_message() -> BatchMessage:
    """A float32 batch of two examples with their targets."""
    return dataclasses.replace(
        SAMPLE, codec=1, examples=2, numbers=3, payload=struct.pack("<6f", *range(6)), targets=b"12"
    )


def test_the_golden_message_is_still_made_and_read() -> None:
    golden = Path(__file__).parents[2] / "golden" / "split" / "good"
    data = (golden / "activations.message").read_bytes()
    assert pack_batch(golden_message()) == data
    assert unpack_batch(data) == golden_message()


@st.composite
def messages(draw: st.DrawFn) -> BatchMessage:
    return BatchMessage(
        kind=draw(st.sampled_from(BatchKind)),
        cut=draw(st.integers(0, 1)),
        codec=draw(st.integers(1, 255)),
        parameter=draw(st.integers(0, 255)),
        run=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        round=draw(st.integers(1, 2**32 - 1)),
        batch=draw(st.integers(0, 2**31 - 1)),
        examples=draw(st.integers(1, 1 << 13)),
        numbers=draw(st.integers(1, 1 << 13)),
        loss=draw(st.floats(width=32, allow_nan=False, allow_infinity=False)),
        payload=draw(st.binary(min_size=1, max_size=100)),
        targets=draw(st.binary(max_size=50)),
    )


@given(messages())
def test_round_trip(message: BatchMessage) -> None:
    data = pack_batch(message)
    assert len(data) == BATCH_HEADER_BYTES + len(message.payload) + len(message.targets)
    assert unpack_batch(data) == message


@given(st.binary(max_size=120))
def test_any_bytes_give_a_message_or_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_batch(data)


@given(st.integers(0, len(pack_batch(SAMPLE)) - 1), st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_unused(at: int, bit: int) -> None:
    data = bytearray(pack_batch(SAMPLE))
    data[at] ^= 1 << bit
    with pytest.raises(Malformed):
        unpack_batch(bytes(data))


@given(st.integers(0, len(pack_batch(SAMPLE)) - 1))
def test_a_cut_message_is_truncated(size: int) -> None:
    with pytest.raises(Truncated):
        unpack_batch(pack_batch(SAMPLE)[:size])


def sealed(**changes: Any) -> bytes:
    """`SAMPLE` with header fields changed at will and a good check sum."""
    places = {"version": (4, "B"), "reserved": (7, "B"), "flags": (10, "H"), "examples": (28, "I"),
              "numbers": (32, "I"), "loss": (36, "f"), "payload": (40, "I")}  # fmt: skip
    data = bytearray(pack_batch(SAMPLE))
    for name, value in changes.items():
        at, code = places[name]
        struct.pack_into(f"<{code}", data, at, value)
    data[48:52] = bytes(4)
    data[48:52] = zlib.crc32(data).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 2}, Unsupported),
        ({"reserved": 1}, Corrupt),
        ({"flags": 1}, Corrupt),
        ({"examples": 0}, Corrupt),
        ({"examples": 1 << 20}, TooLarge),
        ({"numbers": 1 << 31}, TooLarge),
        ({"loss": float("nan")}, Corrupt),
        ({"payload": 1 << 30}, TooLarge),
        ({"payload": 8}, Truncated),
        ({"payload": 6}, Corrupt),
    ],
)
def test_bad_headers_are_refused(changes: Any, error: type[Malformed]) -> None:
    with pytest.raises(error):
        unpack_batch(sealed(**changes))


def test_unused_bits_are_ignored_and_limits_are_the_receivers() -> None:
    assert unpack_batch(sealed(flags=0x0100)) == SAMPLE
    with pytest.raises(TooLarge):
        unpack_batch(pack_batch(SAMPLE), max_bytes=50)


@pytest.mark.parametrize(
    "wrong", [{"payload": b""}, {"loss": 1e39}, {"run": "x"}, {"numbers": 1 << 25}, {"cut": 2}]
)
def test_fields_outside_their_limits_are_misuse(wrong: Any) -> None:
    with pytest.raises(Misuse):
        pack_batch(dataclasses.replace(SAMPLE, **wrong))


def test_seeds_of_batches_differ() -> None:
    seeds = {batch_seed(seed, batch) for seed in (0, 1, 2**53 - 1) for batch in range(100)}
    assert len(seeds) == 300
    assert max(seeds) < 2**53
