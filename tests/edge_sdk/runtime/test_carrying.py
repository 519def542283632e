"""Promise: what is carried and what was counted add up, whatever arrives, and survive as one."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.codecs import codec_from_frame, codec_from_spec
from edge_sdk.plan import Spans
from edge_sdk.runtime.carrying import Carried, after_receipt, before_sending
from edge_sdk.runtime.frames import update_frames
from edge_sdk.runtime.spool import Spool, TrainedUpdate
from edge_sdk.values import Commit, Memory, Range, Task, Vector
from edge_sdk.wire import unpack

SIZE = 900
WHERE = Spans(((0, 300), (500, 400)))
TASK = Task(
    run="0123456789abcdef",
    round=4,
    plan="ab" * 32,
    model_version=3,
    codecs=("float32",),
    seed=5,
    deadline_s=60.0,
    chunk_bytes=512,
    memory_speed=0.25,
)


def some(seed: int, size: int = WHERE.size) -> Vector:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size).astype(np.float32)


def task(memory: Memory, **changes: object) -> Task:
    return dataclasses.replace(TASK, memory=memory, **changes)  # type: ignore[arg-type]  # fields


def frames_of(vector: Vector, spec: str) -> list[bytes]:
    return update_frames(vector, TASK, codec_from_spec(spec), stage=0, examples=1)


def decoded(frames: list[bytes], counted: tuple[Range, ...]) -> Vector:
    total = np.zeros(WHERE.size, np.float32)
    for first, end in counted:
        for raw in frames[first:end]:
            frame = unpack(raw)
            codec = codec_from_frame(frame.codec, frame.parameter)
            piece = codec.decode(frame.payload, frame.place)
            piece.where.put(piece.values, total)
    return total


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=6))
def test_what_was_learned_is_what_was_counted_and_what_is_carried(
    rounds: list[tuple[int, int]],
) -> None:
    carried: Carried | None = None
    learned, counted_for = np.zeros(SIZE), np.zeros(SIZE)
    for seed, (first, end) in enumerate(rounds):
        update = some(seed)
        WHERE.add(update.astype(np.float64), learned)
        sent = before_sending(update, task("error-feedback"), carried, where=WHERE, size=SIZE)
        assert sent is not None
        assert sent.owed is not None
        frames = frames_of(sent.vector, "topk:share=0.2,values=32")
        last = min(end, len(frames))
        counted: tuple[Range, ...] = ((first, last),) if first < last else ()
        carried = after_receipt(sent.owed, TASK, frames, where=WHERE, counted=counted)
        WHERE.add(decoded(frames, counted).astype(np.float64), counted_for)
    assert carried is not None
    np.testing.assert_allclose(counted_for + carried.vector, learned, atol=1e-4)


def test_of_an_unbiased_code_nothing_counted_is_carried() -> None:
    sent = before_sending(some(1), task("error-feedback"), None, where=WHERE, size=SIZE)
    assert sent is not None
    assert sent.owed is not None
    frames = frames_of(sent.vector, "eden:bits=8")
    assert len(frames) > 1
    after = after_receipt(sent.owed, TASK, frames, where=WHERE, counted=((0, 1),))
    left = WHERE.take(after.vector)
    there = decoded(frames, ((0, 1),)) != 0
    assert not left[there].any()
    assert np.array_equal(left[~there], sent.vector[~there])


def test_a_memory_moves_by_what_was_counted_and_a_stage_keeps_the_rest() -> None:
    held = some(9, SIZE)
    carried = Carried(kind="artemis", run=TASK.run, round=2, vector=held)
    asked = task("artemis", memory_round=2)
    sent = before_sending(some(1), asked, carried, where=WHERE, size=SIZE)
    assert sent is not None
    assert sent.owed == carried
    assert np.array_equal(sent.vector, some(1) - WHERE.take(held))
    frames = frames_of(sent.vector, "float32")
    counted = ((1, 3), (4, 5))
    after = after_receipt(carried, asked, frames, where=WHERE, counted=counted)
    assert after.round == TASK.round
    expected = WHERE.take(held) + np.float32(0.25) * decoded(frames, counted)
    assert np.array_equal(WHERE.take(after.vector), expected)
    assert np.array_equal(after.vector[300:500], held[300:500])
    lost = after_receipt(carried, asked, frames, where=WHERE, counted=())
    assert lost is carried


@pytest.mark.parametrize(
    ("base", "own", "begins"),
    [(None, 2, "zero"), (2, 2, "memory"), (1, 2, None), (2, None, None), (None, None, "zero")],
)
def test_the_server_says_which_memory_to_go_on_from(
    base: int | None, own: int | None, begins: str | None
) -> None:
    held = some(9, SIZE)
    carried = None
    if own is not None:
        carried = Carried(kind="artemis", run=TASK.run, round=own, vector=held)
    asked = task("artemis", memory_round=base)
    sent = before_sending(some(1), asked, carried, where=WHERE, size=SIZE)
    if begins is None:
        assert sent is None
    else:
        assert sent is not None
        start = WHERE.take(held) if begins == "memory" else 0
        assert np.array_equal(sent.vector, some(1) - start)


def test_what_is_of_another_run_kind_or_model_is_not_used() -> None:
    for other in (
        Carried(kind="error-feedback", run="f" * 16, vector=some(9, SIZE)),
        Carried(kind="artemis", run=TASK.run, round=1, vector=some(9, SIZE)),
        Carried(kind="error-feedback", run=TASK.run, vector=some(9, SIZE + 1)),
    ):
        sent = before_sending(some(1), task("error-feedback"), other, where=WHERE, size=SIZE)
        assert sent is not None
        assert np.array_equal(sent.vector, some(1))
    sent = before_sending(some(1), task("none"), other, where=WHERE, size=SIZE)
    assert sent is not None
    assert sent.owed is None


def saved(tmp_path: Path) -> tuple[Spool, TrainedUpdate]:
    sent = before_sending(some(1), task("error-feedback"), None, where=WHERE, size=SIZE)
    assert sent is not None
    frames = frames_of(sent.vector, "topk:share=0.2")
    commit = Commit(chunks=len(frames), examples=1, codec="topk:share=0.2")
    update = TrainedUpdate(TASK, commit, tuple(frames), sent.owed, WHERE)
    spool = Spool(tmp_path / "update.spool")
    spool.save(update)
    return spool, update


def same(a: Carried | None, b: Carried | None) -> bool:
    if a is None or b is None:
        return a is b
    facts = ((one.kind, one.run, one.round) for one in (a, b))
    return len(set(facts)) == 1 and np.array_equal(a.vector, b.vector)


def test_update_and_what_is_owed_are_one_file_until_the_receipt(tmp_path: Path) -> None:
    spool, update = saved(tmp_path)
    loaded = spool.load()
    assert loaded is not None
    assert (loaded.task, loaded.commit, loaded.frames) == (TASK, update.commit, update.frames)
    assert loaded.where == WHERE
    assert same(loaded.owed, update.owed)
    spool.settle(loaded, ((0, len(loaded.frames)),))
    assert spool.load() is None
    left = spool.carried()
    assert left is not None
    assert update.owed is not None
    assert np.linalg.norm(left.vector) < np.linalg.norm(update.owed.vector)
    assert [path.name for path in tmp_path.iterdir()] == ["update.spool"]


def test_a_lost_update_is_owed_and_a_useless_one_is_not(tmp_path: Path) -> None:
    spool, update = saved(tmp_path)
    spool.settle(update, ())
    assert spool.load() is None
    assert same(spool.carried(), update.owed)
    spool.drop(update)
    assert spool.carried() is None


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 2**20), mask=st.integers(1, 255))
def test_a_damaged_file_carries_nothing(
    at: int, mask: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool, _ = saved(folder)
    path = folder / "update.spool"
    body = bytearray(path.read_bytes())
    body[at % len(body)] ^= mask
    path.write_bytes(body)
    assert spool.load() is None
    assert spool.carried() is None
