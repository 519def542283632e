"""One scripted device: the real client, with a modelled link, clock, battery and pace of training.

Between its turns a device is a few kilobytes: which rows it holds, its meters, its identity and
what its policy learned. The client itself is made for a turn and kept while it is among those that
worked lately (`Pool`); a device that drops out of them starts again as after a restart.
"""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.engines.select import select_engine
from edge_sdk.errors import Unreachable
from edge_sdk.interfaces import Dataset, Engine, KeepGoing, Policy
from edge_sdk.plan import Plan
from edge_sdk.runtime.books import Books
from edge_sdk.runtime.client import Client
from edge_sdk.runtime.replica import Replica
from edge_sdk.runtime.state import StateFolder
from edge_sdk.telemetry import ByteMeter, LinkMeter
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import (
    Choice,
    Commit,
    Decline,
    Enrolled,
    Evaluation,
    Finished,
    Outcome,
    Progress,
    Reading,
    Receipt,
    Task,
    Trained,
    TrainSettings,
    Vector,
    Wait,
)
from edge_sdk.values.reports import LinkType
from edge_sdk.wire import unpack
from server_ref.simulate.links import Burst, Link, Way
from server_ref.simulate.loop import VirtualClock, virtual_loop
from server_ref.simulate.outcome import Participation
from server_ref.simulate.power import PowerMeter
from server_ref.simulate.wiring import LinkConnector, MakeProtocol

URL = "http://127.0.0.1"
"""Nothing is dialled there: connections are made in memory."""

MIDNIGHT_S = 1_782_864_000.0
"""Wall clock at the start of every run: a midnight, for hours of charging and quotas."""

MOST_ALIVE = 64
"""Clients kept between turns."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """What makes a device the one it is."""

    index: int
    group: str
    data: Dataset
    policy: Policy[Any]
    link: Link
    radio: LinkType
    metered: bool
    examples_per_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all devices share."""

    plan: Plan
    serve: MakeProtocol
    join_token: str
    start_s: float
    """The loop's time at the start of the run."""
    folder: Path
    """Below it each device's spool and memories, once there are any."""
    seed: int
    stage_speed: tuple[float, ...]
    engines: "Engines"
    pool: "Pool"

    def at_s(self) -> float:
        """Seconds since the start."""
        return virtual_loop().time() - self.start_s


class Engines:
    """One engine for each stage and kind of graph, whoever trains."""

    def __init__(self) -> None:
        self._engines: dict[tuple[str, int, bool], Engine] = {}

    def get(self, plan: Plan, stage: int, *, warm_up: bool = False) -> Engine:
        """The engine, made on first use."""
        key = (plan.digest, stage, warm_up)
        if key not in self._engines:
            self._engines[key] = select_engine(plan, stage=stage, warm_up=warm_up)
        return self._engines[key]


class Pool:
    """Keeps the clients of the devices that worked last, up to a number."""

    def __init__(self, most: int = MOST_ALIVE) -> None:
        self._most = most
        self._devices: OrderedDict[int, Device] = OrderedDict()

    async def worked(self, device: "Device") -> None:
        """Note that it did; whoever did so longest ago may have to start again."""
        self._devices[device.index] = device
        self._devices.move_to_end(device.index)
        for index in list(self._devices):
            if len(self._devices) <= self._most:
                return
            if not self._devices[index].busy:
                await self._devices.pop(index).stop()


class Device:
    """Drives one client; a `runtime.loop.Participant`."""

    def __init__(
        self,
        character: Character,
        world: World,
        power: PowerMeter,
        *,
        tell: Callable[[Participation], None],
    ) -> None:
        self.index = character.index
        self.power = power
        self.busy = False
        self._character = character
        self._world = world
        self._tell = tell
        self._draw = np.random.Generator(np.random.PCG64([world.seed, 2, character.index]))
        self._state = _LightState(world.folder / f"{character.index:06d}", world.plan)
        self._policy = _KeptPolicy(character.policy, self._decided)
        self._meter = ByteMeter()
        self._links = LinkMeter()
        self._client: Client | None = None
        self._transport: _RecordingTransport | None = None
        self._answer: Task | Wait | Finished | None = None
        self._under_way: Participation | None = None
        self._began_j = 0.0

    # ------------------------------------------------------------------ what the loop drives

    @property
    def answer(self) -> Task | Wait | Finished | None:
        """See `Participant.answer`."""
        return self._answer

    async def participate(self) -> Receipt | None:
        """Take part once, if there is power.

        Raises:
            Unreachable: the battery is empty, or as the client says.
        """
        self._answer = None
        self.power.settle(self._world.at_s())
        if self.power.is_empty:
            raise Unreachable("the battery is empty")
        client, transport = self._alive()
        self.busy = True
        self.power.wake(self._world.at_s())
        try:
            receipt = await client.participate()
            self._answer = client.answer
            if receipt is None and isinstance(client.answer, Task):
                self._ended("late")
            return receipt
        finally:
            await transport.close()  # a device that sleeps keeps no connection
            self.power.sleep(self._world.at_s())
            self.busy = False
            await self._world.pool.worked(self)

    def forget_identity(self) -> bool:
        """See `Participant.forget_identity`."""
        return self._client is not None and self._client.forget_identity()

    async def stop(self) -> None:
        """Let go of the client; the next turn makes another."""
        client, self._client, self._transport = self._client, None, None
        if client is not None:
            await client.close()

    def _alive(self) -> "tuple[Client, _RecordingTransport]":
        if self._client is None or self._transport is None:
            one, world = self._character, self._world
            self._transport = _RecordingTransport(self)
            self._client = Client(
                URL,
                token=world.join_token,
                data=one.data,
                state=self._state,
                name=f"{one.group} {one.index}",
                seed=one.index,
                policy=self._policy,
                sensor=self,
                engine=self._engine,
                transport=self._transport,
                clock=VirtualClock(),
            )
        return self._client, self._transport

    # ------------------------------------------------------------------ its parts

    def connector(self) -> LinkConnector:
        """For the transport."""
        return LinkConnector(
            self._character.link,
            self._world.serve,
            start_s=self._world.start_s,
            draw=self._draw,
            carried=self._carried,
        )

    @property
    def meters(self) -> tuple[ByteMeter, LinkMeter]:
        """For the transport."""
        return self._meter, self._links

    def read(self) -> Reading:
        """A reading now; this object is its own `interfaces.Sensor`."""
        at_s = self._world.at_s()
        self.power.settle(at_s)
        one, battery = self._character, self.power.battery
        return Reading(
            at_s=virtual_loop().time(),
            cpu_s=self.power.train_s,
            energy_j=self.power.energy_j,
            energy_method="measured",  # by a meter that sees board and radio, as a HAT does
            sent_bytes=self._meter.sent_bytes,
            received_bytes=self._meter.received_bytes,
            battery=self.power.charge,
            charging=None if battery is None else battery.is_charging(at_s),
            link=one.radio,
            metered=one.metered,
            local_s=MIDNIGHT_S + at_s,
            goodput=self._links.goodput(),
        )

    def _engine(self, plan: Plan, stage: int, warm_up: bool = False) -> Engine:
        speed = self._world.stage_speed
        share = speed[stage] if stage < len(speed) else (stage + 1) / plan.stages
        real = self._world.engines.get(plan, stage, warm_up=warm_up)
        return _PacedEngine(real, self._character.examples_per_s / share, self.power)

    def _carried(self, way: Way, burst: Burst) -> None:
        self.power.settle(self._world.at_s())
        self.power.carried(way, burst.wire_bytes, at_s=self._world.at_s(), seconds=burst.sending_s)

    # ------------------------------------------------------------------ what becomes of its tasks

    def _decided(self, task: Task, choice: Choice) -> None:
        if self._under_way is not None and self._under_way.round != task.round:
            self._ended("late")
        if self._under_way is None:
            self.power.settle(self._world.at_s())
            self._began_j = self.power.energy_j
            self._under_way = Participation(
                round=task.round,
                device=self.index,
                group=self._character.group,
                began_s=self._world.at_s(),
                deadline_at_s=self._world.at_s() + task.deadline_s,
            )
            self._tell(self._under_way)
        self._under_way.stage = choice.stage
        self._under_way.codec = choice.codec if choice.takes_part else ""
        self._under_way.why = choice.why
        if not choice.takes_part:
            self._ended("sat-out")

    def sending(self, frames: Sequence[bytes]) -> None:
        """An update is about to be sent, or what is missing of it again."""
        one = self._under_way
        if one is not None and frames and one.update_bytes is None:
            one.update_bytes = sum(map(len, frames))
            one.dimension = unpack(frames[0]).dimension

    def counted(self) -> None:
        """A receipt came."""
        self._ended("counted")

    def declined(self) -> None:
        """A place is given back."""
        self._ended("gave-up")

    def run_over(self) -> None:
        """The run ends: what is past its deadline now was late."""
        one = self._under_way
        if one is not None and self._world.at_s() >= one.deadline_at_s:
            self._ended("late")

    def _ended(self, ending: str) -> None:
        one, self._under_way = self._under_way, None
        if one is not None:
            self.power.settle(self._world.at_s())
            one.ending = ending  # type: ignore[assignment]  # one of the words above
            one.ended_s = self._world.at_s()
            one.energy_j = self.power.energy_j - self._began_j


class _RecordingTransport(HttpTransport):
    """The real HTTP transport on a link in memory; what becomes of an update is noted."""

    def __init__(self, device: Device) -> None:
        meter, links = device.meters
        super().__init__(URL, meter=meter, watcher=links, connector=device.connector)
        self._device = device

    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        self._device.sending(frames)
        return self._noted(await super().upload(task, frames))

    async def progress(self, task: Task) -> Progress:
        return self._noted(await super().progress(task))

    async def commit(self, task: Task, commit: Commit) -> Receipt:
        receipt = await super().commit(task, commit)
        self._device.counted()
        return receipt

    async def decline(self, task: Task, decline: Decline) -> Wait:
        self._device.declined()
        return await super().decline(task, decline)

    def _noted(self, progress: Progress) -> Progress:
        if progress.receipt is not None:
            self._device.counted()
        return progress


class _PacedEngine:
    """A shared engine that takes a scripted time for each step."""

    def __init__(self, engine: Engine, examples_per_s: float, power: PowerMeter) -> None:
        self._engine = engine
        self._examples_per_s = examples_per_s
        self._power = power

    def train(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = lambda: True,
    ) -> Trained:
        """Train; a step takes as long as a full batch of examples."""
        step_s = min(settings.batch_size, len(data)) / self._examples_per_s
        steps = 0

        def asked() -> bool:
            nonlocal steps
            if steps:  # the step before has run
                virtual_loop_of_job(step_s)
            steps += 1
            return keep_going()

        trained = self._engine.train(weights, data, settings, keep_going=asked)
        virtual_loop_of_job(step_s * trained.steps - step_s * max(steps - 1, 0))
        self._power.trained(step_s * trained.steps)
        return trained

    def evaluate(self, weights: Vector, data: Dataset, *, batch_size: int = 256) -> Evaluation:
        """As the engine does, in no time."""
        return self._engine.evaluate(weights, data, batch_size=batch_size)


def virtual_loop_of_job(seconds: float) -> None:
    """Let the job that runs take so long."""
    virtual_loop().spend(seconds)


class _KeptPolicy:
    """A policy whose state outlives the client, and whose choices are told."""

    def __init__(self, policy: Policy[Any], tell: Callable[[Task, Choice], None]) -> None:
        self._policy = policy
        self._tell = tell
        self._state: Any = policy.start()

    def start(self) -> Any:  # noqa: ANN401 - whatever the policy keeps
        return self._state

    def decide(self, state: Any, task: Task, now: Reading) -> Choice:  # noqa: ANN401 - as above
        choice = self._policy.decide(state, task, now)
        self._tell(task, choice)
        return choice

    def learn(self, state: Any, task: Task, choice: Choice, outcome: Outcome) -> Any:  # noqa: ANN401
        self._state = self._policy.learn(state, task, choice, outcome)
        return self._state


class _LightState(StateFolder):
    """A device's state with identity, plan and model in memory; the rest is on disk, once there."""

    def __init__(self, path: Path, plan: Plan) -> None:
        super().__init__(path, URL)
        self.books = Books(None)
        self.replica = Replica(None)
        self._plan = plan
        self._has_plan = False
        self._enrolled: Enrolled | None = None
        self._since: float | None = None

    def acquire(self) -> None:
        """Nobody else has it."""

    def release(self) -> None:
        """As above."""

    def load_identity(self) -> Enrolled | None:
        return self._enrolled

    def token_since(self) -> float | None:
        return self._since

    def save_identity(self, enrolled: Enrolled, *, at: float | None = None) -> None:
        self._enrolled, self._since = enrolled, at

    def forget_identity(self) -> None:
        self._enrolled = None

    def attempt(self) -> str:
        return f"simulated-attempt-{self.path.name}"

    def load_plan(self, digest: str) -> Plan | None:
        return self._plan if self._has_plan and digest == self._plan.digest else None

    def save_plan(self, plan: Plan) -> None:
        # Every device downloads the plan; all of them hold the one object.
        self._has_plan = plan.digest == self._plan.digest
