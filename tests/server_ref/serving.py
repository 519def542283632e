"""A real server on a free loopback port, and scripted devices that speak to it over HTTP."""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import numpy as np

from edge_sdk.codecs import codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.errors import Corrupt
from edge_sdk.plan import Plan, StageParts, TensorSpec, load_plan, pack_plan
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Commit, Enrol, Parameter, Receipt, Task, Vector
from edge_sdk.wire import HEADER_BYTES, Frame, FrameReader, Kind, pack, unpack
from server_ref.app import Listening, listen
from server_ref.coordinator import NO_ORDERS, Evaluate, Orders, Surroundings
from server_ref.settings import Settings

ROWS, COLUMNS = 40, 25
DIMENSION = ROWS * COLUMNS


def small_plan(*, first: float = 0.0) -> Plan:
    """1,000 parameters; graphs that nobody runs."""
    weights = np.linspace(-1, 1, DIMENSION, dtype=np.float32)
    weights[0] = first
    bundle = pack_plan(
        name="small",
        loss="cross-entropy",
        optimizer="sgd",
        classes=COLUMNS,
        input_spec=TensorSpec(name="input", dtype="float32", shape=(ROWS,)),
        target_spec=TensorSpec(name="target", dtype="int64", shape=()),
        parameters=(Parameter("w", (ROWS, COLUMNS)),),
        weights=weights,
        stages=(
            StageParts(name="all", parameters=(0,), state=(), train=b"none", evaluate=b"none"),
        ),
    )
    return load_plan(bundle)


def settings(state: Path, **changes: object) -> Settings:
    """Two rounds of two devices; small chunks, so that an update has several."""
    given: dict[str, object] = {
        "plan": state / "unused.plan",
        "state": state,
        "port": 0,
        "rounds": 2,
        "cohort": 2,
        "min_updates": 1,
        "codecs": ("float32", "eden:bits=4"),
        "chunk_bytes": 1024,
        "run_seed": 7,
        "join_uses": 8,
        "pace_s": 0.05,
    }
    return Settings(**(given | changes))  # type: ignore[arg-type]  # checked by pydantic


@contextlib.asynccontextmanager
async def serving(
    state: Path,
    *,
    plan: Plan | None = None,
    orders: Orders = NO_ORDERS,
    evaluate: Evaluate | None = None,
    outside: Surroundings | None = None,
    **changes: object,
) -> AsyncIterator[Listening]:
    """A server on `state` while the context lasts."""
    async with listen(
        settings(state, **changes),
        plan or small_plan(),
        orders=orders,
        evaluate=evaluate,
        outside=outside,
    ) as listening:
        yield listening


class ManualTime:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now_s(self) -> float:
        """See `Surroundings.now_s`."""
        return self.at_s


def delta(number: int) -> Vector:
    """What device `number` learned, in every round."""
    random = np.random.Generator(np.random.PCG64(number))
    return random.standard_normal(DIMENSION).astype(np.float32) * np.float32(0.1)


def frames_for(
    task: Task, vector: Vector, *, examples: int = 10, codec: str | None = None
) -> list[bytes]:
    """The update's frames."""
    chosen = codec_from_spec(codec or task.codecs[0])
    wire_id, parameter = frame_ids(chosen)
    payloads = chosen.encode(vector, seed=task.seed, chunk_bytes=task.chunk_bytes - HEADER_BYTES)
    return [
        pack(
            Frame(
                kind=Kind.UPDATE,
                codec=wire_id,
                parameter=parameter,
                index=index,
                count=len(payloads),
                run=task.run,
                number=task.round,
                examples=examples,
                seed=task.seed,
                dimension=len(vector),
                payload=payload,
            )
        )
        for index, payload in enumerate(payloads)
    ]


def relabelled(frames: Sequence[bytes], **changes: object) -> list[bytes]:
    """The same frames with other values in their headers."""
    return [
        pack(dataclasses.replace(unpack(frame), **changes))  # type: ignore[arg-type]  # fields of Frame
        for frame in frames
    ]


def unpack_snapshot(data: bytes, *, dimension: int) -> Vector:
    """The float32 weights that a snapshot's frames carry: what every device holds.

    Raises:
        Malformed: not the frames of one whole snapshot of `dimension` coordinates.
    """
    reader = FrameReader()
    frames = reader.feed(data)
    reader.close()
    weights = np.zeros(dimension, np.float32)
    if [f.index for f in frames] != list(range(frames[0].count if frames else 1)):
        raise Corrupt("snapshot is not whole")
    for frame in frames:
        if frame.kind is not Kind.SNAPSHOT or frame.dimension != dimension:
            raise Corrupt(f"not a snapshot of {dimension} coordinates")
        piece = codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)
        piece.where.put(piece.values, weights)
    return weights


class ScriptedDevice:
    """A device that sends what the test says."""

    def __init__(self, transport: HttpTransport, number: int, token: str) -> None:
        self.transport = transport
        self.number = number
        self.token = token

    async def task(self, *, wait_s: float = 5.0) -> Task:
        """Check in and expect work."""
        answer = await self.transport.check_in(CheckIn(wait_s=wait_s))
        assert isinstance(answer, Task), answer
        return answer

    def frames(self, task: Task) -> list[bytes]:
        """This device's update."""
        return frames_for(task, delta(self.number), examples=10 + self.number)

    async def commit(self, task: Task, frames: Sequence[bytes]) -> Receipt:
        """Close the update of `frames`."""
        return await self.transport.commit(
            task,
            Commit(chunks=len(frames), examples=10 + self.number, codec=task.codecs[0]),
        )

    async def take_part(self) -> Receipt:
        """One whole round."""
        task = await self.task()
        frames = self.frames(task)
        await self.transport.upload(task, frames)
        return await self.commit(task, frames)


@contextlib.asynccontextmanager
async def device(
    listening: Listening, number: int, *, token: str | None = None
) -> AsyncIterator[ScriptedDevice]:
    """A device, newly enrolled or with the `token` of an earlier life."""
    transport = HttpTransport(listening.url, token=token)
    try:
        if token is None:
            assert listening.opened.join_token is not None
            enrolled = await transport.enrol(Enrol(join_token=listening.opened.join_token))
            token = enrolled.token
        yield ScriptedDevice(transport, number, token)
    finally:
        await transport.close()


@contextlib.asynccontextmanager
async def http(listening: Listening, token: str = "") -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client, for what no device would send."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession(listening.url, headers=headers) as session:
        yield session
