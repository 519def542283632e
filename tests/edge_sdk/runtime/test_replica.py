"""Promise: what a device holds of the model is on disk where that pays, and is never wrong."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.errors import Unavailable
from edge_sdk.plan import load_plan
from edge_sdk.runtime import replica as replica_module
from edge_sdk.runtime.replica import HeldModel, Replica
from edge_sdk.testing import scripted_plan
from edge_sdk.values import Task

RUN, OTHER_RUN = "0123456789abcdef", "f" * 16
PLAN = load_plan(scripted_plan(inputs=99, classes=3))
SIZE = 300
NAME = "model.replica"
TASK = Task(
    run=RUN,
    round=9,
    plan=PLAN.digest,
    model_version=9,
    codecs=("float32",),
    seed=1,
    epochs=1,
    batch_size=8,
    deadline_s=60.0,
    chunk_bytes=512,
)


def model(version: int, *, run: str = RUN) -> HeldModel:
    random = np.random.Generator(np.random.PCG64(version))
    vector = random.standard_normal(SIZE).astype(np.float32)
    return HeldModel(run, PLAN.digest, version, 0, {0: vector})


def same(a: HeldModel | None, b: HeldModel) -> bool:
    return (
        a is not None
        and dataclasses.replace(a, segments={}) == dataclasses.replace(b, segments={})
        and a.segments.keys() == b.segments.keys()
        and all(np.array_equal(vector, b.segments[n]) for n, vector in a.segments.items())
    )


def test_what_was_downloaded_first_is_held_after_a_restart(tmp_path: Path) -> None:
    first = Replica(tmp_path / NAME)
    assert first.held is None
    first.take(model(3), download_bytes=4 * SIZE)
    again = Replica(tmp_path / NAME).held
    assert same(again, model(3))
    assert again is not None
    assert again.segments[0].dtype == np.float32
    assert again.leads_to(TASK, PLAN.segments())


def test_several_segments_keep_their_numbers(tmp_path: Path) -> None:
    parts = {4: np.arange(7, dtype=np.float32), 0: np.array([np.inf, -0.0, 1e-40], np.float32)}
    several = HeldModel(RUN, PLAN.digest, 1, 2, parts)
    Replica(tmp_path / NAME).take(several, download_bytes=100)
    assert same(Replica(tmp_path / NAME).held, several)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 5 * SIZE), max_size=40))
def test_flash_is_spared_and_a_restart_costs_a_quarter_of_the_model_at_most(
    sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("state") / NAME
    replica, writes, downloaded, unsaved = Replica(path), 0, 0, 0
    before = None
    for version, size in enumerate(sizes, start=1):
        replica.take(model(version), download_bytes=size)
        downloaded += size
        now = Replica(path).held
        wrote = now is not None and now.version == version
        writes += wrote
        unsaved = 0 if wrote else unsaved + size
        if size < 2 * SIZE or before is None:
            assert unsaved < SIZE, "a quarter of the model"
        before = model(version)
    assert writes * SIZE <= downloaded


def test_versions_that_come_whole_are_not_written_again(tmp_path: Path) -> None:
    replica = Replica(tmp_path / NAME)
    for version in (1, 2, 3):
        replica.take(model(version), download_bytes=4 * SIZE + 100)
        assert same(replica.held, model(version))
    assert same(Replica(tmp_path / NAME).held, model(1))
    replica.take(model(4), download_bytes=SIZE // 8)
    assert same(Replica(tmp_path / NAME).held, model(4)), "now deltas come: holding one pays"


def test_another_run_plan_shape_or_an_earlier_version_does_not_lead_on() -> None:
    held, segments = model(5), PLAN.segments()
    assert held.leads_to(TASK, segments)
    assert held.leads_to(dataclasses.replace(TASK, model_version=5), segments)
    for change in ({"run": OTHER_RUN}, {"plan": "0" * 64}, {"model_version": 4}):
        assert not held.leads_to(dataclasses.replace(TASK, **change), segments)
    shorter = dataclasses.replace(held, segments={0: held.segments[0][1:]})
    assert not shorter.leads_to(TASK, segments)
    assert not dataclasses.replace(held, stage=7).leads_to(TASK, segments)


def test_what_was_dropped_is_gone_from_disk_too(tmp_path: Path) -> None:
    replica = Replica(tmp_path / NAME)
    replica.take(model(1), download_bytes=4 * SIZE)
    replica.drop()
    assert replica.held is None
    assert Replica(tmp_path / NAME).held is None
    replica.drop()


@pytest.mark.parametrize("where", [0, 9, 40, 200, -1])
def test_a_damaged_file_is_as_if_it_had_never_been_there(
    tmp_path: Path, where: int, caplog: pytest.LogCaptureFixture
) -> None:
    Replica(tmp_path / NAME).take(model(1), download_bytes=4 * SIZE)
    data = bytearray((tmp_path / NAME).read_bytes())
    data[where] ^= 4
    (tmp_path / NAME).write_bytes(data)
    with caplog.at_level(logging.WARNING):
        replica = Replica(tmp_path / NAME)
        assert replica.held is None
    assert "unreadable" in caplog.text
    replica.take(model(2), download_bytes=4 * SIZE)
    assert same(Replica(tmp_path / NAME).held, model(2))


def test_a_full_disk_costs_the_file_only_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("cannot write: No space left on device")

    replica = Replica(tmp_path / NAME)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(replica_module, "save_record", full)
        replica.take(model(1), download_bytes=4 * SIZE)
    assert same(replica.held, model(1))
    assert "not kept" in caplog.text
    replica.take(model(2), download_bytes=1)
    assert same(Replica(tmp_path / NAME).held, model(2))


def test_without_a_file_all_is_in_memory() -> None:
    replica = Replica(None)
    assert replica.held is None
    replica.take(model(1), download_bytes=4 * SIZE)
    assert same(replica.held, model(1))
    replica.drop()
    assert replica.held is None
