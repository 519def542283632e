"""A whole run: the real server, and every device's loop around the real client, in virtual time."""

import asyncio
import concurrent.futures
import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from edge_sdk.adaptation import BudgetPolicy, FixedPolicy
from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Policy
from edge_sdk.plan import Plan
from edge_sdk.runtime.backoff import Backoff
from edge_sdk.runtime.loop import Loop
from edge_sdk.values import Evaluation, Vector
from edge_sdk.values.summaries import RunSummary
from server_ref.coordinator import Opened, Surroundings, open_run
from server_ref.settings import Settings
from server_ref.simulate.device import MIDNIGHT_S, Character, Device, Engines, Pool, World
from server_ref.simulate.fleet import Fleet, GroupTable, LinkTable
from server_ref.simulate.holdings import SharedRows, load_holdings
from server_ref.simulate.links import Link, Trace
from server_ref.simulate.loop import VirtualClock, VirtualLoop, virtual_loop
from server_ref.simulate.outcome import Outcome, Participation, RoundRecord
from server_ref.simulate.power import BOARDS, BatterySpec, Board, PowerMeter, windows_s
from server_ref.simulate.wiring import application
from server_ref.store import Change, ChunkLog, Database, Entry, Sync

T = TypeVar("T")

OnRound = Callable[[RoundRecord], None]

LOOK_S = 60.0
"""How often the run is looked at while the server tells nothing."""


def simulate(
    fleet: Fleet, plan: Plan, *, name: str = "", on_round: OnRound = lambda _: None
) -> Outcome:
    """Run `fleet` until its rounds are over, its target is reached or its time is up.

    Equal arguments give equal outcomes, on one machine with one set of library versions.

    Raises:
        Misuse: the fleet's data or settings cannot be used.
        Malformed: its data file is broken.
    """
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)  # a thousand devices' sentences help nobody
    try:
        with _scratch() as folder, asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(_Run(fleet, plan, folder, on_round).whole(name))
    finally:
        logging.disable(before)


class _Run:
    def __init__(self, fleet: Fleet, plan: Plan, folder: Path, on_round: OnRound) -> None:
        self._fleet = fleet
        self._plan = plan
        self._folder = folder
        self._on_round = on_round
        self._devices: list[Device] = []
        self._records: list[RoundRecord] = []
        self._participations: list[Participation] = []
        self._told = asyncio.Event()
        self._start_s = 0.0

    async def whole(self, name: str) -> Outcome:
        fleet = self._fleet
        loop = virtual_loop()
        self._start_s = loop.time()
        counts = fleet.counts()
        holdings, test = load_holdings(fleet.data, self._plan, devices=sum(counts), seed=fleet.seed)
        engines = Engines()
        segments = self._plan.segments()

        def measure(weights: Vector, stage: int) -> Evaluation:
            mine = segments.stage(stage).take(weights)
            return engines.get(self._plan, stage).evaluate(mine, test)

        tokens = _tokens(fleet.seed)
        outside = Surroundings(
            now_s=loop.time,
            wall_s=lambda: MIDNIGHT_S + loop.time() - self._start_s,
            sync=lambda _: None,
            new_token=lambda: next(tokens),
            tell=lambda _: self._told.set(),
            open_database=_PromptDatabase,
            open_log=_PromptLog,
        )
        async with (
            open_run(
                server_settings(fleet, self._folder, devices=sum(counts)),
                self._plan,
                evaluate=measure,
                outside=outside,
            ) as opened,
            application(opened) as serve,
        ):
            world = World(
                plan=self._plan,
                serve=serve,
                join_token=opened.join_token or "",
                start_s=self._start_s,
                folder=self._folder / "devices",
                seed=fleet.seed,
                stage_speed=fleet.stage_speed,
                engines=engines,
                pool=Pool(),
            )
            self._devices = self._make_devices(world, holdings, counts)
            reached = await self._carry_through(opened)
            for device in self._devices:
                device.run_over()
        return Outcome(
            name=name,
            seed=fleet.seed,
            devices=len(self._devices),
            dimension=self._plan.layout(self._plan.stages - 1).size,
            target_accuracy=fleet.target_accuracy,
            reached=reached,
            seconds=loop.time() - self._start_s,
            rounds=tuple(self._records),
            participations=tuple(self._participations),
        )

    # ------------------------------------------------------------------ devices

    def _make_devices(
        self, world: World, holdings: list[SharedRows], counts: tuple[int, ...]
    ) -> list[Device]:
        groups = [
            group for group, n in zip(self._fleet.group, counts, strict=True) for _ in range(n)
        ]
        devices: list[Device] = []
        for index, (group, data) in enumerate(zip(groups, holdings, strict=True)):
            draw = np.random.Generator(np.random.PCG64([self._fleet.seed, 3, index]))
            vary = 1 + group.vary * (2 * draw.random(2) - 1)
            character = Character(
                index=index,
                group=group.name,
                data=data,
                policy=policy_of(group),
                link=link_of(group.link, float(vary[0])),
                radio=group.link.radio,
                metered=group.link.metered,
                examples_per_s=group.examples_per_s * float(vary[1]),
            )
            devices.append(
                Device(character, world, power_of(group), tell=self._participations.append)
            )
        return devices

    async def _live(self, device: Device) -> None:
        """One device from its first moment to the end of the run."""
        draw = np.random.Generator(np.random.PCG64([self._fleet.seed, 4, device.index]))
        pace_s = float(str(self._fleet.server.get("pace_s", 5.0)))
        await asyncio.sleep(float(draw.random()) * pace_s)
        await Loop(device, clock=VirtualClock(), backoff=Backoff(), seed=device.index).run()

    # ------------------------------------------------------------------ the run

    async def _carry_through(self, opened: Opened) -> bool:
        """Let everybody live; whether the target was reached."""
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(self._live(device)) for device in self._devices]
            try:
                return await self._watch(opened)
            finally:
                for life in lives:
                    life.cancel()

    async def _watch(self, opened: Opened) -> bool:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), LOOK_S)
            self._told.clear()
            if opened.failed.done():
                opened.failed.result()
            run = await opened.coordinator.summary()
            if self._take_down(run):
                return True
            if run.state == "finished" or loop.time() - self._start_s > self._fleet.longest_s:
                return False

    def _take_down(self, run: RunSummary) -> bool:
        """Record the rounds that are over; whether the target is reached."""
        at_s = asyncio.get_running_loop().time() - self._start_s
        target = self._fleet.target_accuracy
        for summary in run.rounds[len(self._records) :]:
            measured = summary.accuracy is not None or summary.loss is not None
            if summary.state == "abandoned" or (summary.state == "published" and measured):
                self._records.append(self._record(summary, at_s))
                self._on_round(self._records[-1])
                if target is not None and (summary.accuracy or 0.0) >= target:
                    return True
            else:
                break
        return False

    def _record(self, summary: Any, at_s: float) -> RoundRecord:  # noqa: ANN401 - a RoundSummary
        for device in self._devices:
            device.power.settle(at_s)
        meters = [device.power for device in self._devices]
        return RoundRecord(
            round=summary,
            at_s=at_s,
            energy_j=sum(meter.energy_j for meter in meters),
            radio_j=sum(meter.radio_j for meter in meters),
            wire_bytes=sum(meter.wire_bytes for meter in meters),
        )


# ---------------------------------------------------------------------- from tables to parts


def policy_of(group: GroupTable) -> Policy[Any]:
    """Who decides on the group's devices."""
    if group.policy.kind == "budget":
        return BudgetPolicy(thrift=group.policy.thrift)
    return FixedPolicy(codec=group.policy.codec, epochs=group.policy.epochs)


def link_of(table: LinkTable, vary: float) -> Link:
    """A device's link, its rates times `vary`."""
    up = table.up_kbit_s * 125.0 * vary
    down = (table.down_kbit_s or table.up_kbit_s) * 125.0 * vary
    points = table.trace or ((0.0, 1.0),)
    if points[0][0] > 0:
        points = ((0.0, 1.0), *points)
    return Link(
        up_bytes_per_s=up,
        down_bytes_per_s=down,
        delay_s=table.delay_ms / 1000,
        loss=table.loss,
        trace=Trace(points, table.trace_period_s),
        traced=table.trace_ways,
    )


def power_of(group: GroupTable) -> PowerMeter:
    """A device's meter, its battery as full as the group's."""
    own, battery = group.power, group.battery
    return PowerMeter(
        board=BOARDS[group.board] if own is None else Board(own.idle_w, own.busy_w),
        radio=group.link.radio,
        sleep_w=0.0 if own is None else own.sleep_w,
        battery=None
        if battery is None
        else BatterySpec(
            capacity_j=battery.capacity_wh * 3600,
            charge=battery.charge,
            charge_w=battery.charge_w,
            windows=windows_s(battery.charging_hours),
        ),
    )


class _GivenSettings(Settings):
    """The server's settings without environment and files: a fleet says all of them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def server_settings(fleet: Fleet, folder: Path, *, devices: int) -> Settings:
    """The server's settings.

    Raises:
        Misuse: a value is out of its range; the text names all of them.
    """
    given: dict[str, object] = {
        "plan": folder / "in-memory.plan",
        "state": folder / "server",
        "rounds": fleet.rounds,
        "run_seed": fleet.seed,
        "join_uses": devices,
    }
    try:
        return _GivenSettings(**(given | dict(fleet.server)))  # type: ignore[arg-type]  # checked
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        lines = [f"server.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problems]
        raise Misuse("; ".join(lines).replace("Value error, ", "")) from None


def _tokens(seed: int) -> Iterator[str]:
    number = 0
    while True:
        yield hashlib.sha256(f"{seed} token {number}".encode()).hexdigest()
        number += 1


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for state, in memory where the system has such a place: fsync is slow."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    where = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="edge-sdk-simulate-", dir=where) as folder:
        yield Path(folder)


# ---------------------------------------------------------------------- nothing races


class _PromptDatabase(Database):
    """A database whose changes are done when `write` returns."""

    def write(self, change: Change[T]) -> "concurrent.futures.Future[T]":
        done = super().write(change)
        concurrent.futures.wait((done,))
        return done


class _PromptLog(ChunkLog):
    """A log whose chunks are held when `append` returns."""

    def __init__(self, path: Path, *, sync: Sync) -> None:
        super().__init__(path, sync=sync)

    def append(self, device: str, frame: bytes) -> "concurrent.futures.Future[Entry]":
        done = super().append(device, frame)
        concurrent.futures.wait((done,))
        return done
