"""Scripted devices for journeys: their updates are the same in every run of a test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import Commit, Enrol, Enrolled, Task
from edge_sdk.wire import HEADER_BYTES, Frame, Kind, pack
from tests.journeys.server_process import ServerProcess


@dataclass(frozen=True)
class Prepared:
    """A run that devices have joined and nothing else has happened to."""

    plan_file: Path
    state: Path
    devices: Sequence[Enrolled]
    dimension: int
    join_token: str


async def prepare(folder: Path, options: Sequence[str], *, devices: int) -> Prepared:
    """Begin a run, let devices join, and end the server."""
    plan = build_plan(zoo.mlp((8,), 3, hidden=(96,)), loss="cross-entropy", name="small")
    plan_file = folder / "small.plan"
    plan_file.write_bytes(plan.data)
    server = ServerProcess(plan_file, folder / "server", options)
    server.start()
    try:
        joined = [await enrolled(server) for _ in range(devices)]
    finally:
        server.kill()
    return Prepared(
        plan_file, server.folder / "state", joined, plan.layout().size, server.join_token
    )


async def enrolled(server: ServerProcess) -> Enrolled:
    transport = HttpTransport(server.url)
    try:
        return await transport.enrol(Enrol(join_token=server.join_token))
    finally:
        await transport.close()


def update_of(task: Task, dimension: int, device: int) -> tuple[list[bytes], Commit]:
    """A device's update in a round: the same whatever happened before."""
    random = np.random.Generator(np.random.PCG64([task.round, device]))
    vector = random.standard_normal(dimension).astype(np.float32)
    codec = codec_from_spec(task.codecs[0])
    room = task.chunk_bytes - HEADER_BYTES
    payloads = codec.encode(vector, seed=task.seed, chunk_bytes=room)
    wire_id, parameter = frame_ids(codec)
    frames = [
        pack(
            Frame(
                kind=Kind.UPDATE, codec=wire_id, parameter=parameter, index=index,
                count=len(payloads), stage=task.stage, run=task.run, number=task.round,
                examples=10 + device, seed=task.seed, dimension=dimension, payload=payload,
            )
        )
        for index, payload in enumerate(payloads)
    ]  # fmt: skip
    return frames, Commit(chunks=len(frames), examples=10 + device, codec=codec.spec)
