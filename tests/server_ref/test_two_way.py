"""Promise: both sides remember the same, bit for bit, whoever takes part and whatever gets lost."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.values import CheckIn, Vector
from server_ref.app import Listening
from server_ref.store import memories, records
from tests.server_ref.fleet import (
    Device,
    StagePolicy,
    devices_in,
    fleet_at,
    held_by,
    parts_of,
    staged_plan,
    state_of,
    version_made,
)
from tests.server_ref.serving import DIMENSION, small_plan

TWO_WAY = {
    "cohort": 2,
    "rounds": 30,
    "codecs": ("eden:bits=2",),
    "downlink_codec": "eden:bits=1",
    "memory": "artemis",
}
ROUNDS = [(0, 1), (1, 2), (0, 3), (1, 3), (0, 2), (2, 3)]


def _mean(devices: list[Device], size: int = DIMENSION) -> Vector:
    mean: Vector = np.mean([device.memory(size) for device in devices], axis=0, dtype=np.float64)
    return mean


async def _one_by_one(at: Listening, devices: list[Device], pairs: list[tuple[int, int]]) -> None:
    for version, pair in enumerate(pairs, start=1):
        for number in pair:
            await devices[number].take_part()
        await version_made(at, version)


async def test_the_servers_memories_are_the_devices_and_its_replica_is_what_they_hold(
    tmp_path: Path,
) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(4))
    async with fleet_at(tmp_path / "s", devices, plan=plan, **TWO_WAY) as at:
        for version, pair in enumerate(ROUNDS, start=1):
            before = state_of(at, version - 1)
            for number in pair:
                await devices[number].take_part()
                held, segments = held_by(devices[number])
                assert held == version - 1
                assert np.array_equal(segments[0], before.replica)
            after = await version_made(at, version)
            total = sum(20.0 * one.memory(DIMENSION).astype(np.float64) for one in devices)
            np.testing.assert_allclose(after.memories, total, atol=1e-9)
        rows = parts_of(at).read(lambda c: memories.memories(c, parts_of(at).run.run))
        own = {
            one: parts_of(at).library.memory(one, row.round, row.sha256)
            for one, row in rows.items()
        }
        theirs = [one.memory(DIMENSION) for one in devices]
        assert len(own) == 4
        assert all(any(np.array_equal(a, b) for b in theirs) for a in own.values())
        state = state_of(at)
        assert 0 < np.linalg.norm(state.replica - state.weights) < np.linalg.norm(state.weights)


async def test_a_device_that_comes_back_after_many_rounds_pays_for_the_deltas_only(
    tmp_path: Path,
) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(3))
    async with fleet_at(tmp_path / "s", devices, plan=plan, **TWO_WAY) as at:
        await _one_by_one(at, devices, [(0, 1)] * 5)
        shelf = at.opened.coordinator.shelf
        whole = shelf.download(5, have=None, stage=0, held_stage=None).size
        deltas = shelf.download(5, have=0, stage=0, held_stage=None)
        assert (len(deltas.slices), deltas.size < whole / 3) == (5, True)
        await devices[2].take_part()
        version, segments = held_by(devices[2])
        assert version == 5
        assert np.array_equal(segments[0], state_of(at, 5).replica)


async def test_a_device_that_starts_again_pays_from_where_it_was(tmp_path: Path) -> None:
    plan = small_plan()
    (one,) = devices_in(tmp_path, plan, range(1))
    changes = TWO_WAY | {"cohort": 1}
    kept = 0
    async with fleet_at(tmp_path / "s", [one], plan=plan, **changes) as at:
        shelf = at.opened.coordinator.shelf
        for version in range(1, 16):
            await one.take_part()
            await version_made(at, version)
            assert one.client is not None
            await one.client.close()
            one.start(at)  # as after a power cut: nothing but the disk
            asked = one.client._check_in()
            assert (asked.holds_version is None) == (kept == 0 and version < 6)
            if asked.holds_version is None:
                continue
            kept, segments = held_by(one)
            assert (asked.holds_run, asked.holds_version) == (parts_of(at).run.run, kept)
            assert np.array_equal(segments[0], state_of(at, kept).replica)
            pays = shelf.bytes_for(asked, version, 0)
            assert pays is not None
            assert pays < DIMENSION + 2 * shelf.download(1, have=0, stage=0, held_stage=0).size
    assert kept > 6, "it was written again"


async def test_versions_that_are_dropped_make_way_for_a_whole_model(tmp_path: Path) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(3))
    changes = TWO_WAY | {"keep_versions": 2}
    async with fleet_at(tmp_path / "s", devices, plan=plan, **changes) as at:
        await _one_by_one(at, devices, [(0, 1)] * 4)
        shelf = at.opened.coordinator.shelf
        assert shelf.download(4, have=3, stage=0, held_stage=0).slices[0].kind == "delta"
        assert shelf.download(4, have=1, stage=0, held_stage=0).slices[0].kind == "snapshot"
        await devices[2].take_part()
        models = parts_of(at).library.file(0, "weights").parent
        assert {path.stem for path in models.iterdir()} == {"00000003", "00000004"}
        assert np.array_equal(held_by(devices[2])[1][0], state_of(at, 4).replica)


@pytest.mark.parametrize("lost", ["everything but who it is", "an older state came back"])
async def test_a_device_that_lost_its_memory_begins_at_zero_and_so_does_the_server(
    tmp_path: Path, lost: str
) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(2))
    async with fleet_at(tmp_path / "s", devices, plan=plan, **TWO_WAY) as at:
        await _one_by_one(at, devices, [(0, 1)])
        old = tmp_path / "old.spool"
        shutil.copy(devices[0].folder / "update.spool", old)
        await devices[0].take_part()
        await devices[1].take_part()
        await version_made(at, 2)
        path = devices[0].folder / "update.spool"
        path.unlink() if lost.startswith("everything") else shutil.copy(old, path)
        await devices[0].take_part()
        carried = devices[0].spool.carried()
        assert carried is not None
        assert carried.round == 3
        await devices[1].take_part()
        after = await version_made(at, 3)
        np.testing.assert_allclose(after.memories, 40 * _mean(devices), atol=1e-9)


async def test_memories_of_devices_that_stay_away_are_forgotten(tmp_path: Path) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(3))
    changes = TWO_WAY | {"forget_after_rounds": 2}
    async with fleet_at(tmp_path / "s", devices, plan=plan, **changes) as at:
        await _one_by_one(at, devices, [(0, 2), (0, 1), (0, 1), (0, 1)])
        after = state_of(at)
        np.testing.assert_allclose(after.memories, 40 * _mean(devices[:2]), atol=1e-9)
        run = parts_of(at).run.run
        assert len(parts_of(at).read(lambda c: memories.memories(c, run))) == 2
        await devices[2].take_part()
        folder = tmp_path / "s" / "runs" / run / "memories"
        assert len(list(folder.iterdir())) == 2, "nothing is kept of what was forgotten"
        await devices[0].take_part()
        after = await version_made(at, 5)
        np.testing.assert_allclose(after.memories, 60 * _mean(devices), atol=1e-9)


async def _model_after(state: Path, devices: list[Device], *, restart: bool) -> list[bytes]:
    with socket.socket() as free:  # one address for all lives: a device's state belongs to it
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    changes = TWO_WAY | {"optimizer": "momentum", "server_learning_rate": 0.5, "port": port}
    plan = devices[0].plan
    if not restart:
        async with fleet_at(state, devices, plan=plan, **changes) as at:
            await _one_by_one(at, devices, ROUNDS)
            return _files(at)
    for version, pair in enumerate(ROUNDS, start=1):
        for number in pair:
            async with fleet_at(state, devices, plan=plan, **changes) as at:
                await devices[number].take_part()
        async with fleet_at(state, devices, plan=plan, **changes) as at:
            await version_made(at, version)
    async with fleet_at(state, devices, plan=plan, **changes) as at:
        return _files(at)


def _files(at: Listening) -> list[bytes]:
    """Bytes of the newest version's files."""
    parts = parts_of(at)
    names = ("weights", "frames", "delta", "average", "momentum", "memories")
    return [parts.library.file(len(ROUNDS), name).read_bytes() for name in names]


async def test_restarts_between_all_steps_change_no_bit_of_model_replica_and_memories(
    tmp_path: Path,
) -> None:
    plan = small_plan()
    a = devices_in(tmp_path / "a", plan, range(4))
    b = devices_in(tmp_path / "b", plan, range(4))
    undisturbed = await _model_after(tmp_path / "a" / "s", a, restart=False)
    assert await _model_after(tmp_path / "b" / "s", b, restart=True) == undisturbed


async def test_stages_mix_in_one_round_and_each_device_fetches_only_its_own(
    tmp_path: Path,
) -> None:
    plan = staged_plan()
    segments = plan.segments()
    devices = devices_in(tmp_path, plan, range(3))
    devices[0].policy = StagePolicy(stage=0)
    changes = TWO_WAY | {"schedule": "whole", "least_stage": 0, "min_updates": 2}
    async with fleet_at(tmp_path / "s", devices, plan=plan, **changes) as at:
        await _one_by_one(at, devices, [(0, 1), (1, 2), (0, 2)])
        state = state_of(at, 2)
        version, held = held_by(devices[0])
        assert version == 2
        assert set(held) == {segment.number for segment in segments.of_stage(0)} == {0, 1}
        for number, vector in held.items():
            assert np.array_equal(vector, segments.all[number].where.take(state.replica))
        shelf = at.opened.coordinator.shelf
        own = shelf.download(2, have=0, stage=0, held_stage=None).size
        assert own < shelf.download(2, have=0, stage=1, held_stage=None).size
        newest = await version_made(at, 3)
        total = sum(20.0 * one.memory(segments.size).astype(np.float64) for one in devices)
        np.testing.assert_allclose(newest.memories, total, atol=1e-9)
        start = plan.whole_weights()
        assert all(
            not np.array_equal(s.where.take(newest.weights), s.where.take(start))
            for s in segments.all
        )


async def test_error_feedback_keeps_what_was_not_counted(tmp_path: Path) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(2))
    changes = TWO_WAY | {"memory": "error-feedback", "codecs": ("topk:share=0.05",)}
    async with fleet_at(tmp_path / "s", devices, plan=plan, **changes) as at:
        await devices[0].take_part()
        residual = np.abs(devices[0].memory(DIMENSION))
        sent = residual < 1e-3 * residual.max()
        assert 0.05 <= sent.mean() < 0.08, "what was sent is gone from it, but for rounding"
        await devices[1].take_part()
        made = await version_made(at, 1)
        moved = made.weights - plan.whole_weights()
        assert 0 < np.count_nonzero(moved) <= 100


async def test_an_auto_offer_is_resolved_by_the_device_and_counted(tmp_path: Path) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(2))
    changes = TWO_WAY | {"memory": "none", "codecs": ("auto:rate=3",), "optimizer": "fedadam"}
    async with fleet_at(tmp_path / "s", devices, plan=plan, **changes) as at:
        await _one_by_one(at, devices, [(0, 1), (0, 1)])
        run = parts_of(at).run.run
        (one, _) = parts_of(at).read(lambda c: records.updates(c, run, 2))
        assert one.codec == "auto:rate=3"
        assert set(state_of(at, 2).moments) == {"momentum", "second"}


async def test_a_device_is_told_what_it_would_have_to_fetch(tmp_path: Path) -> None:
    plan = small_plan()
    devices = devices_in(tmp_path, plan, range(2))
    async with fleet_at(tmp_path / "s", devices, plan=plan, **TWO_WAY) as at:
        shelf = at.opened.coordinator.shelf
        assert shelf.bytes_for(CheckIn(), 0, 0) == 0, "the plan's own weights"
        await _one_by_one(at, devices, [(0, 1), (0, 1)])
        run = parts_of(at).run.run
        both = shelf.bytes_for(CheckIn(), 2, 0)
        last = shelf.bytes_for(CheckIn(holds_run=run, holds_version=1, holds_stage=0), 2, 0)
        assert both is not None
        assert last is not None
        assert 0 < last < both
        assert shelf.bytes_for(CheckIn(holds_run=run, holds_version=2, holds_stage=0), 2, 0) == 0
        other = CheckIn(holds_run="f" * 16, holds_version=1, holds_stage=0)
        assert shelf.bytes_for(other, 2, 0) == both
