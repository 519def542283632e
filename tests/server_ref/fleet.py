"""Real clients with scripted engines against a real server, one after another."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import numpy as np

from edge_sdk.adaptation import FixedPolicy
from edge_sdk.datasets import ArrayDataset
from edge_sdk.interfaces import Engine, Policy
from edge_sdk.plan import Plan, StageParts, TensorSpec, WarmUpParts, load_plan, pack_plan
from edge_sdk.runtime.client import Client
from edge_sdk.runtime.spool import Spool
from edge_sdk.testing import ScriptedEngine, ScriptedSensor
from edge_sdk.values import Choice, Parameter, Reading, Receipt, Task, Vector, Wait
from server_ref.app import Listening
from server_ref.coordinator.parts import RunParts
from server_ref.coordinator.publishing import Library, ModelState
from server_ref.store import records
from tests.server_ref.serving import serving

INPUTS, WIDTH = 10, 30


def growing_plan() -> Plan:
    """`staged_plan` with a warm-up of its second stage."""
    return staged_plan(warm_up=True)


def staged_plan(*, warm_up: bool = False) -> Plan:
    """Two stages that share their first parameter, each with a head; graphs that nobody runs."""
    parameters = (
        Parameter("block0", (INPUTS, WIDTH)),
        Parameter("head0", (WIDTH, 2)),
        Parameter("block1", (WIDTH, WIDTH)),
        Parameter("head1", (WIDTH, 2)),
    )
    size = sum(parameter.size for parameter in parameters)
    new = WarmUpParts(parameters=(2, 3), state=(), train=b"none") if warm_up else None
    parts = [
        StageParts(
            name=name, parameters=which, state=(), train=b"none", evaluate=b"none", warm_up=warm
        )
        for name, which, warm in (("small", (0, 1), None), ("whole", (0, 2, 3), new))
    ]
    return load_plan(
        pack_plan(
            name="staged",
            loss="cross-entropy",
            optimizer="sgd",
            classes=2,
            input_spec=TensorSpec(name="input", dtype="float32", shape=(INPUTS,)),
            target_spec=TensorSpec(name="target", dtype="int64", shape=()),
            parameters=parameters,
            weights=np.linspace(-1, 1, size, dtype=np.float32),
            stages=parts,
        )
    )


@dataclasses.dataclass(frozen=True, slots=True)
class StagePolicy(FixedPolicy):
    """Always the same stage, or the task's."""

    stage: int | None = None

    def decide(self, state: None, task: Task, now: Reading) -> Choice:
        """See `FixedPolicy`."""
        choice = FixedPolicy.decide(self, state, task, now)
        return choice if self.stage is None else dataclasses.replace(choice, stage=self.stage)


@dataclasses.dataclass
class Device:
    """One device, whose client may be started anew."""

    number: int
    folder: Path
    plan: Plan
    examples: int = 20
    policy: Policy[None] = dataclasses.field(default_factory=FixedPolicy)
    client: Client | None = None
    token: str | None = None

    def start(self, at: Listening) -> None:
        """Make the client, as a new process would."""
        self.token = at.opened.join_token or self.token
        inputs = self.plan.input.shape[0]
        random = np.random.Generator(np.random.PCG64(self.number))
        x = random.random((self.examples, inputs)).astype(np.float32)
        y = np.arange(self.examples) % (self.plan.classes or 2)
        self.client = Client(
            at.url,
            token=self.token,
            data=ArrayDataset(x, y),
            state=self.folder,
            policy=self.policy,
            sensor=ScriptedSensor(),
            engine=self._engine,
        )

    def _engine(self, plan: Plan, stage: int, *, warm_up: bool = False) -> Engine:
        del warm_up
        random = np.random.Generator(np.random.PCG64([self.number, 1]))
        whole = random.standard_normal(plan.manifest.layout.size).astype(np.float32)
        return ScriptedEngine(plan.segments().stage(stage).take(whole))

    async def take_part(self) -> Receipt:
        """Once; waits while a round is closing."""
        assert self.client is not None
        for _ in range(100):
            receipt = await self.client.participate()
            if receipt is not None:
                return receipt
            assert isinstance(self.client.answer, Wait), self.client.answer
            await asyncio.sleep(0.05)
        raise AssertionError("no work")

    @property
    def spool(self) -> Spool:
        """What it carries."""
        return Spool(self.folder / "update.spool")

    def memory(self, size: int) -> Vector:
        """Residual or memory of the whole model; zeros where there is none."""
        carried = self.spool.carried()
        return np.zeros(size, np.float32) if carried is None else carried.vector


def parts_of(at: Listening) -> RunParts:
    """The server's insides."""
    return at.opened.coordinator._parts


def state_of(at: Listening, version: int | None = None) -> ModelState:
    """A version as the server has it; the newest where none is named."""
    parts = parts_of(at)
    run = parts.run.run
    if version is None:
        version = parts.read(lambda c: records.last_version(c, run))
    row = parts.read(lambda c: records.version(c, run, version))
    assert row is not None
    library: Library = parts.library
    return library.state(row)


async def version_made(at: Listening, version: int) -> ModelState:
    """Wait until a version is there, and the server goes by it."""
    for _ in range(200):
        if at.opened.coordinator._cycle.model_version >= version:
            return state_of(at, version)
        await asyncio.sleep(0.02)
    raise AssertionError(f"version {version} was not made")


@contextlib.asynccontextmanager
async def fleet_at(
    state: Path, devices: Sequence[Device], *, plan: Plan, **changes: object
) -> AsyncIterator[Listening]:
    """A server, and clients of all devices while the context lasts."""
    async with serving(state, plan=plan, **changes) as at:  # type: ignore[arg-type]  # settings
        for device in devices:
            device.start(at)
        try:
            yield at
        finally:
            for device in devices:
                if device.client is not None:
                    await device.client.close()


def held_by(device: Device) -> tuple[int, dict[int, Vector]]:
    """Version and segments that a device holds."""
    assert device.client is not None
    model = device.client._bench.model
    assert model is not None
    return model.version, dict(model.segments)


def devices_in(folder: Path, plan: Plan, numbers: Iterable[int]) -> list[Device]:
    """Fresh devices, each with a folder of its own."""
    return [Device(number, folder / f"device{number}", plan) for number in numbers]
