"""Promise: a download is the model asked for, to the bit, or refused."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.errors import Malformed
from edge_sdk.plan import Segment, Spans, add_delta, read_model
from edge_sdk.testing import snapshot_frames
from edge_sdk.values import Layout, Parameter, Vector
from edge_sdk.wire import SPEED_UNITS, Frame, Kind, pack, unpack

RUN = "0123456789abcdef"
SIZE = 603


def segment(size: int = SIZE, number: int = 0) -> Segment:
    layout = Layout((Parameter("w", (size,)),))
    stages = frozenset({0})
    return Segment(number, stages, frozenset(), layout, Spans(((0, size),)))


def values(size: int = SIZE, seed: int = 1) -> Vector:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size).astype(np.float32)


def delta(
    version: int, *, spec: str = "eden:bits=2", number: int = 0, speed: int = SPEED_UNITS
) -> list[Frame]:
    codec = codec_from_spec(spec)
    wire_id, parameter = frame_ids(codec)
    payloads = codec.encode(values(seed=version), seed=version, chunk_bytes=150)
    return [
        Frame(
            kind=Kind.DELTA, codec=wire_id, parameter=parameter, index=i, count=len(payloads),
            stage=number, run=RUN, number=version, examples=speed, seed=version, dimension=SIZE,
            payload=payload,
        )
        for i, payload in enumerate(payloads)
    ]  # fmt: skip


def joined(*parts: list[Frame]) -> bytes:
    return b"".join(pack(frame) for part in parts for frame in part)


def read(
    data: bytes, *, version: int = 5, have: int | None = 3, size: int = SIZE
) -> dict[int, Vector]:
    held = {0: values(size, seed=99)}
    only = [segment(size)]
    return read_model(data, run=RUN, version=version, segments=only, held=held, have=have)


def test_a_snapshot_is_read_exactly() -> None:
    weights = values(2500)
    data = snapshot_frames(weights, run=RUN, version=5)
    assert np.array_equal(read(data, size=2500, have=None)[0], weights)


@pytest.mark.parametrize("spec", ["eden:bits=1", "topk:share=0.1", "float16", "blockwise:rate=1"])
def test_deltas_lead_to_the_version_whatever_the_order_of_chunks(spec: str) -> None:
    first, second = delta(4, spec=spec, speed=30_000), delta(5, spec=spec)
    got = read(joined(first, second))[0]
    expected = values(seed=99)
    for frame in [*first[::-1], *second[::-1]]:
        add_delta(frame, expected)
    assert np.array_equal(got, expected)
    assert not np.array_equal(got, values(seed=99))


def test_a_version_that_is_held_needs_no_bytes() -> None:
    assert np.array_equal(read(b"", version=3)[0], values(seed=99))


def test_segments_come_one_after_another_each_its_own_way() -> None:
    weights = values(seed=7)
    snapshot = unpack(snapshot_frames(weights, run=RUN, version=5))
    other = dataclasses.replace(snapshot, stage=1, raw=b"")
    data = joined(delta(4), delta(5), [other])
    held = {0: values(seed=99)}
    both = [segment(), segment(number=1)]
    got = read_model(data, run=RUN, version=5, segments=both, held=held, have=3)
    assert np.array_equal(got[1], weights)
    assert set(got) == {0, 1}


WRONG = {
    "nothing": b"",
    "too few": joined(delta(4)),
    "too many": joined(delta(4), delta(5), delta(6)),
    "twice": joined(delta(4), delta(4), delta(5)),
    "other order": joined(delta(5), delta(4)),
    "a chunk is missing": joined(delta(4), delta(5)[:-1]),
    "cut": joined(delta(4), delta(5))[:-1],
    "other segment": joined(delta(4, number=1), delta(5, number=1)),
    "snapshot after deltas": joined(delta(4)) + snapshot_frames(values(), run=RUN, version=5),
    "snapshot of another version": snapshot_frames(values(), run=RUN, version=6),
    "snapshot of another run": snapshot_frames(values(), run="f" * 16, version=5),
    "snapshot of another size": snapshot_frames(values(SIZE + 1), run=RUN, version=5),
    "snapshot twice": 2 * snapshot_frames(values(), run=RUN, version=5),
    "an update": joined(
        [dataclasses.replace(frame, kind=Kind.UPDATE) for frame in delta(4) + delta(5)]
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_lead_to_the_version_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        read(WRONG[name])


def test_deltas_to_what_is_not_held_are_refused() -> None:
    with pytest.raises(Malformed):
        read(joined(delta(4), delta(5)), have=None)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_never_gives_another_model(data: st.DataObject) -> None:
    body = bytearray(joined(delta(4), delta(5)))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Malformed):
        read(bytes(body))


def test_a_delta_beyond_float32_is_refused() -> None:
    codec = codec_from_spec("float32")
    (payload,) = codec.encode(np.full(SIZE, 3e38, np.float32), seed=0, chunk_bytes=4096)
    frame = dataclasses.replace(delta(4)[0], codec=1, parameter=0, count=1, payload=payload)
    with pytest.raises(Malformed):
        read(
            joined([frame, dataclasses.replace(frame, number=5)][:1])
            + joined([dataclasses.replace(frame, number=5)])
        )
