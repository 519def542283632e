"""Frames: what is packed is unpacked, and nothing else ever is."""

import dataclasses
import itertools
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Malformed, Misuse, TooLarge, Truncated
from edge_sdk.values import Place
from edge_sdk.wire import (
    HEADER_BYTES,
    MAX_DIMENSION,
    MAX_FRAME_BYTES,
    SPEED_UNITS,
    Frame,
    FrameReader,
    Kind,
    pack,
    unpack,
)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    kind = draw(st.sampled_from(Kind))
    most = {Kind.UPDATE: 2**32 - 1, Kind.SNAPSHOT: 0, Kind.DELTA: SPEED_UNITS}[kind]
    count = draw(st.integers(1, 65_535))
    return Frame(
        kind=kind,
        codec=draw(st.integers(1, 255)),
        parameter=draw(st.integers(0, 255)),
        index=draw(st.integers(0, count - 1)),
        count=count,
        stage=draw(st.integers(0, 254)),
        run=draw(st.text("0123456789abcdef", min_size=16, max_size=16)),
        number=draw(st.integers(int(kind is not Kind.SNAPSHOT), 2**32 - 1)),
        examples=draw(st.integers(min(most, 1), most)),
        seed=draw(st.integers(0, 2**53 - 1)),
        dimension=draw(st.integers(1, MAX_DIMENSION)),
        payload=draw(st.binary(min_size=1, max_size=200)),
    )


def sample(payload: bytes = b"payload") -> Frame:
    return Frame(
        kind=Kind.UPDATE,
        codec=1,
        parameter=0,
        index=2,
        count=5,
        run="00000000000000ff",
        number=1,
        examples=3,
        seed=4,
        dimension=100,
        payload=payload,
    )


def read_stream(pieces: list[bytes], **limits: int) -> tuple[list[Frame], type[Malformed] | None]:
    """All frames of a stream and the class of the error that ended it, if one did."""
    reader, got = FrameReader(**limits), list[Frame]()
    try:
        for piece in pieces:
            got += reader.feed(piece)
        reader.close()
    except Malformed as error:
        return got, type(error)
    return got, None


@given(frames())
def test_round_trip_and_the_raw_bytes_are_kept(frame: Frame) -> None:
    data = pack(frame)
    assert len(data) == HEADER_BYTES + len(frame.payload)
    read = unpack(data)
    assert read == frame
    assert read.raw == data
    assert read.place == Place(frame.dimension, frame.index, frame.count, frame.seed)


@given(st.lists(frames(), max_size=4), st.data())
def test_stream_gives_the_same_frames_however_it_is_cut(
    sent: list[Frame], data: st.DataObject
) -> None:
    stream = b"".join(map(pack, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(edges)]
    got, error = read_stream(pieces)
    assert error is None
    assert got == sent
    assert [frame.raw for frame in got] == [pack(frame) for frame in sent]


@given(frames(), st.data())
def test_every_flipped_bit_is_noticed(frame: Frame, data: st.DataObject) -> None:
    changed = bytearray(pack(frame))
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Malformed):
        unpack(bytes(changed))
    got, error = read_stream([bytes(changed)])
    assert (got, error) != ([frame], None)
    assert error is not None


def test_every_single_flipped_bit_of_one_frame_is_noticed() -> None:
    data = pack(sample())
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Malformed):
            unpack(bytes(changed))


@st.composite
def nearly_streams(draw: st.DrawFn) -> bytes:
    """Good frames with some bytes replaced, cut off or put in, some with the check sum repaired."""
    data = bytearray(b"".join(pack(frame) for frame in draw(st.lists(frames(), max_size=3))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    if len(data) > HEADER_BYTES and draw(st.booleans()):
        data[52:56] = bytes(4)
        data[52:56] = zlib.crc32(data).to_bytes(4, "little")
    return bytes(data)


@given(st.one_of(st.binary(max_size=300), nearly_streams()))
def test_any_bytes_give_frames_or_malformed_the_same_whole_and_byte_by_byte(data: bytes) -> None:
    whole = read_stream([data])
    single = read_stream([data[i : i + 1] for i in range(len(data))])
    assert whole == single


@given(st.one_of(st.binary(max_size=300), nearly_streams()))
def test_any_bytes_are_one_frame_or_malformed(data: bytes) -> None:
    try:
        frame = unpack(data)
    except Malformed:
        return
    assert dataclasses.replace(unpack(pack(frame)), raw=b"") == dataclasses.replace(frame, raw=b"")


def test_frames_before_the_first_bad_byte_are_handed_out_and_then_the_error_stays() -> None:
    reader = FrameReader()
    good = pack(sample())
    assert reader.feed(good + good + b"x" * HEADER_BYTES) == [sample(), sample()]
    for _ in range(2):
        with pytest.raises(Malformed):
            reader.feed(good)
        with pytest.raises(Malformed):
            reader.close()


def test_too_large_is_told_from_the_header_before_the_payload() -> None:
    data = pack(sample(bytes(100)))
    reader = FrameReader(max_frame_bytes=HEADER_BYTES + 99)
    assert reader.feed(data[: HEADER_BYTES - 1]) == []
    with pytest.raises(TooLarge):
        reader.feed(data[HEADER_BYTES - 1 : HEADER_BYTES])
    assert reader.buffered_bytes == 0
    with pytest.raises(TooLarge):
        unpack(data, max_frame_bytes=len(data) - 1)
    assert unpack(data, max_frame_bytes=len(data)) == sample(bytes(100))


def test_reader_holds_no_more_than_the_unfinished_frame() -> None:
    reader = FrameReader()
    data = pack(sample())
    reader.feed(data * 3 + data[:60])
    assert reader.buffered_bytes == 60
    with pytest.raises(Truncated):
        reader.close()


def test_largest_frame_fits_and_one_byte_more_is_misuse() -> None:
    room = MAX_FRAME_BYTES - HEADER_BYTES
    largest = sample(bytes(room))
    assert unpack(pack(largest)) == largest
    with pytest.raises(Misuse):
        sample(bytes(room + 1))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("codec", 0),
        ("codec", 256),
        ("parameter", -1),
        ("index", 5),
        ("count", 0),
        ("count", 65_536),
        ("stage", 255),
        ("run", "00000000000000FF"),
        ("run", "ff"),
        ("number", 0),
        ("number", 2**32),
        ("examples", 0),
        ("examples", 2**32),
        ("seed", 2**53),
        ("seed", -1),
        ("dimension", 0),
        ("dimension", MAX_DIMENSION + 1),
        ("payload", b""),
        ("kind", Kind.SNAPSHOT),
    ],
)
def test_a_frame_outside_the_limits_cannot_be_made(field: str, value: Any) -> None:
    changes: dict[str, Any] = {field: value}
    with pytest.raises(Misuse):
        dataclasses.replace(sample(), **changes)


def test_a_reader_that_no_frame_fits_is_misuse() -> None:
    with pytest.raises(Misuse):
        FrameReader(max_frame_bytes=HEADER_BYTES)


def test_header_is_laid_out_as_the_table_says() -> None:
    frame = Frame(
        kind=Kind.UPDATE,
        codec=0x11,
        parameter=0x22,
        index=0x0333,
        count=0x0444,
        stage=0x55,
        run="0666666666666666",
        number=0x07777777,
        examples=0x08888888,
        seed=0x0009999999999999,
        dimension=0x0AAAAAAA,
        payload=b"xyz",
    )
    data = pack(frame)
    assert data[:4] == b"EDGF"
    assert list(data[4:8]) == [1, 1, 0x11, 0x22]
    assert struct.unpack_from("<HHHBB", data, 8) == (0, 0x0333, 0x0444, 0x55, 0)
    assert struct.unpack_from("<Q", data, 16) == (0x0666666666666666,)
    assert struct.unpack_from("<II", data, 24) == (0x07777777, 0x08888888)
    assert struct.unpack_from("<QQ", data, 32) == (0x0009999999999999, 0x0AAAAAAA)
    assert struct.unpack_from("<I", data, 48) == (3,)
    assert struct.unpack_from("<I", data, 52) == (zlib.crc32(data[:52] + bytes(4) + b"xyz"),)
    assert data[56:] == b"xyz"
