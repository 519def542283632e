"""Promise: `kill -9` of the server loses no acknowledged chunk and changes no bit of the model."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.errors import Unreachable
from edge_sdk.plan import Plan
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Commit, Enrol, Task
from edge_sdk.wire import Frame, Kind, pack
from tests.journeys.server_process import ServerProcess

pytestmark = pytest.mark.journey

DEVICES = 3
OPTIONS = [
    "--rounds", "2", "--cohort", str(DEVICES), "--min-updates", str(DEVICES),
    "--codec", "eden:bits=4", "--chunk-bytes", "1024",
]  # fmt: skip


@dataclass(frozen=True)
class Device:
    """A scripted device: who it is, its task and the frames it will send."""

    token: str
    task: Task
    frames: Sequence[bytes]
    commit: Commit


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(zoo.mlp((8,), 3, hidden=(96,)), loss="cross-entropy", name="small")


@pytest.fixture
def plan_file(plan: Plan, tmp_path: Path) -> Path:
    path = tmp_path / "small.plan"
    path.write_bytes(plan.data)
    return path


@pytest.fixture
def dimension(plan: Plan) -> int:
    return plan.layout().size


async def test_the_model_is_bit_identical_and_nothing_acknowledged_is_lost(
    plan_file: Path, dimension: int, tmp_path: Path
) -> None:
    undisturbed = ServerProcess(plan_file, tmp_path / "undisturbed", OPTIONS)
    undisturbed.start()
    devices = [await _scripted(undisturbed, dimension, number) for number in range(DEVICES)]
    undisturbed.kill()
    disturbed = ServerProcess(plan_file, tmp_path / "disturbed", OPTIONS)
    shutil.copytree(undisturbed.folder / "state", disturbed.folder / "state")

    undisturbed.start()
    try:
        for device in devices:
            await _send(undisturbed, device)
        wanted = await _model(undisturbed, devices[0])
    finally:
        undisturbed.kill()

    disturbed.start()
    try:
        await _send(disturbed, devices[0])
        half = len(devices[1].frames) // 2
        acknowledged = await _upload(disturbed, devices[1], devices[1].frames[:half])
        disturbed.kill()
        with pytest.raises(Unreachable):
            await _held(disturbed, devices[1])
        disturbed.start()
        assert await _held(disturbed, devices[1]) == acknowledged == set(range(half))
        await _upload(disturbed, devices[1], devices[1].frames[half:])
        disturbed.kill()
        disturbed.start()
        await _commit(disturbed, devices[1])
        disturbed.kill()
        disturbed.start()
        await _send(disturbed, devices[2])
        assert await _model(disturbed, devices[0]) == wanted
    finally:
        disturbed.kill()


async def _scripted(server: ServerProcess, dimension: int, number: int) -> Device:
    transport = HttpTransport(server.url)
    try:
        enrolled = await transport.enrol(Enrol(join_token=server.join_token))
        transport.identify(enrolled)
        task = await transport.check_in(CheckIn())
    finally:
        await transport.close()
    assert isinstance(task, Task)
    random = np.random.Generator(np.random.PCG64(number))
    vector = random.standard_normal(dimension).astype(np.float32)
    codec = codec_from_spec(task.codecs[0])
    payloads = codec.encode(vector, seed=task.seed, chunk_bytes=task.chunk_bytes - 64)
    wire_id, parameter = frame_ids(codec)
    examples = 10 + number
    frames = [
        pack(
            Frame(
                kind=Kind.UPDATE, codec=wire_id, parameter=parameter, index=index,
                count=len(payloads), stage=task.stage, run=task.run, number=task.round,
                examples=examples, seed=task.seed, dimension=dimension, payload=payload,
            )
        )
        for index, payload in enumerate(payloads)
    ]  # fmt: skip
    assert len(frames) > 1, "too few chunks to stop between two"
    commit = Commit(chunks=len(frames), examples=examples, codec=codec.spec)
    return Device(token=enrolled.token, task=task, frames=frames, commit=commit)


async def _send(server: ServerProcess, device: Device) -> None:
    await _upload(server, device, device.frames)
    await _commit(server, device)


async def _upload(server: ServerProcess, device: Device, frames: Sequence[bytes]) -> set[int]:
    transport = HttpTransport(server.url, token=device.token)
    try:
        progress = await transport.upload(device.task, frames)
    finally:
        await transport.close()
    return {index for first, end in progress.held for index in range(first, end)}


async def _held(server: ServerProcess, device: Device) -> set[int]:
    transport = HttpTransport(server.url, token=device.token)
    try:
        progress = await transport.progress(device.task)
    finally:
        await transport.close()
    return {index for first, end in progress.held for index in range(first, end)}


async def _commit(server: ServerProcess, device: Device) -> None:
    transport = HttpTransport(server.url, token=device.token)
    try:
        receipt = await transport.commit(device.task, device.commit)
        again = await transport.commit(device.task, device.commit)
    finally:
        await transport.close()
    assert receipt == again
    assert receipt.chunks == ((0, len(device.frames)),)


async def _model(server: ServerProcess, device: Device) -> bytes:
    """The model after the round; check-in waits until it is published."""
    transport = HttpTransport(server.url, token=device.token)
    try:
        answer = await transport.check_in(CheckIn(wait_s=30))
        assert isinstance(answer, Task)
        assert answer.model_version == 1
        return await transport.model(answer.run, 1, have=None)
    finally:
        await transport.close()
