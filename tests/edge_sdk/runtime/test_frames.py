import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.codecs import codec_from_spec
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.lowrank_factors import Matrix
from edge_sdk.errors import Malformed, Misuse
from edge_sdk.runtime.frames import (
    fitted_codec,
    has_diverged,
    known_codecs,
    model_weights,
    update_frames,
)
from edge_sdk.testing import snapshot_frames
from edge_sdk.values import Choice, Layout, Parameter, Task
from edge_sdk.wire import unpack

RUN = "0123456789abcdef"
SIZE = 603
TASK = Task(
    run=RUN,
    round=6,
    plan="ab" * 32,
    model_version=5,
    codecs=("float32",),
    seed=77,
    deadline_s=60.0,
    chunk_bytes=512,
)
LAYOUT = Layout((Parameter("w", (200, 3)), Parameter("b", (3,))))
CHOICE = Choice(takes_part=True, codec="float32", why="test")


def model(size: int = SIZE, *, run: str = RUN, version: int = 5) -> bytes:
    weights = np.linspace(0, 1, size).astype(np.float32)
    return snapshot_frames(weights, run=run, version=version)


def test_a_model_is_read_exactly() -> None:
    weights = model_weights(model(2500), run=RUN, version=5, dimension=2500)
    np.testing.assert_array_equal(weights, np.linspace(0, 1, 2500).astype(np.float32))


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        model()[:-1],
        model()[: len(model()) // 2],
        model() + model(),
        model(2500)[:4096],
        model(version=9),
        model(SIZE + 1),
        model(run="f" * 16),
        b"".join(update_frames(np.ones(SIZE, np.float32), TASK, CHOICE, examples=1, layout=LAYOUT)),
    ],
    ids=[
        "empty",
        "cut",
        "half",
        "twice",
        "one chunk of several",
        "other version",
        "other size",
        "other run",
        "an update",
    ],
)
def test_a_model_that_is_not_the_one_asked_for_is_refused(wrong: bytes) -> None:
    with pytest.raises(Malformed):
        model_weights(wrong, run=RUN, version=5, dimension=SIZE)


@given(at=st.integers(0, len(model()) - 1), mask=st.integers(1, 255))
def test_a_flipped_bit_never_gives_another_model(at: int, mask: int) -> None:
    broken = bytearray(model())
    broken[at] ^= mask
    with pytest.raises(Malformed):
        model_weights(bytes(broken), run=RUN, version=5, dimension=SIZE)


def test_frames_say_all_that_the_task_said_and_stay_under_its_limit() -> None:
    frames = update_frames(np.ones(SIZE, np.float32), TASK, CHOICE, examples=31, layout=LAYOUT)
    assert len(frames) > 1
    for index, raw in enumerate(frames):
        frame = unpack(raw)
        assert len(raw) <= TASK.chunk_bytes
        assert (frame.run, frame.number, frame.seed) == (RUN, 6, 77)
        assert (frame.index, frame.count, frame.examples) == (index, len(frames), 31)
        assert frame.dimension == SIZE


@pytest.mark.parametrize("spec", ["lowrank:rate=2", "fedzip:keep=0.5"])
def test_codecs_that_know_tensors_are_told_where_they_lie(spec: str) -> None:
    layout = Layout((Parameter("b", (8,)), Parameter("w", (40, 30))))
    codec = fitted_codec(spec, layout)
    assert isinstance(codec, LowRank | FedZip)
    if isinstance(codec, LowRank):
        assert codec.matrices == (Matrix(8, 40, 30),)
    else:
        assert codec.layout == layout
    assert codec.spec == codec_from_spec(spec).spec, "what is said of it stays the same"
    assert fitted_codec("eden:bits=2", layout) == codec_from_spec("eden:bits=2")


def test_what_no_codec_takes_is_the_programs_fault() -> None:
    with pytest.raises(Misuse):
        update_frames(np.full(3, np.nan, np.float32), TASK, CHOICE, examples=1, layout=LAYOUT)
    odd = dataclasses.replace(TASK, codecs=("float32", "quantum:bits=0", "float16"))
    assert known_codecs(odd.codecs) == ("float32", "float16")


@pytest.mark.parametrize(
    ("value", "diverged"), [(0.0, False), (1e17, False), (-1e19, True), (np.inf, True)]
)
def test_divergence_is_noticed(value: float, diverged: bool) -> None:
    delta = np.array([0.0, value, 1.0], np.float32)
    assert has_diverged(delta) is diverged
    assert has_diverged(np.array([np.nan, value], np.float32))
    assert not has_diverged(np.zeros(0, np.float32))
