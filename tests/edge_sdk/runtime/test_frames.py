import dataclasses

import numpy as np
import pytest

from edge_sdk.codecs import Float32, codec_from_spec, frame_ids
from edge_sdk.codecs.auto import admitted_ids
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.lowrank_factors import Matrix
from edge_sdk.errors import Misuse
from edge_sdk.runtime.frames import (
    codec_for,
    has_diverged,
    known_codecs,
    update_frames,
)
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


def test_frames_say_all_that_the_task_said_and_stay_under_its_limit() -> None:
    frames = update_frames(np.ones(SIZE, np.float32), TASK, Float32(), stage=0, examples=31)
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
    vector = np.ones(layout.size, np.float32)
    choice = Choice(takes_part=True, codec=spec, why="test")
    codec = codec_for(vector, TASK, choice, layout)
    assert isinstance(codec, LowRank | FedZip)
    if isinstance(codec, LowRank):
        assert codec.matrices == (Matrix(8, 40, 30),)
    else:
        assert codec.layout == layout
    assert codec.spec == codec_from_spec(spec).spec, "what is said of it stays the same"


def test_an_auto_choice_comes_to_a_codec_that_the_server_takes() -> None:
    offer = "auto:rate=0.5"
    vector = np.random.Generator(np.random.PCG64(1)).standard_normal(20_000).astype(np.float32)
    choice = Choice(takes_part=True, codec=offer, why="test")
    layout = Layout((Parameter("w", (20_000,)),))
    task = dataclasses.replace(TASK, codecs=(offer,), chunk_bytes=4096)
    codec = codec_for(vector, task, choice, layout)
    assert frame_ids(codec) in admitted_ids(offer)
    frames = update_frames(vector, task, codec, stage=0, examples=1)
    assert 0.4 < 8 * sum(map(len, frames)) / len(vector) < 0.55
    assert known_codecs((offer, "auto:rate=x")) == (offer,)


def test_what_no_codec_takes_is_the_programs_fault() -> None:
    with pytest.raises(Misuse):
        update_frames(np.full(3, np.nan, np.float32), TASK, Float32(), stage=0, examples=1)
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
