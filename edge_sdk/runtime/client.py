"""One participation, as a straight line: from asking for work to the receipt."""

import dataclasses
import logging
import math
import platform
import secrets
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import ArrayLike
from pydantic import ValidationError

from edge_sdk.adaptation import FixedPolicy
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.select import select_engine
from edge_sdk.errors import Misuse, Refused
from edge_sdk.interfaces import Clock, Dataset, Engine, KeepGoing, Policy, Sensor, Transport
from edge_sdk.plan import Plan, load_plan
from edge_sdk.runtime.backoff import Backoff
from edge_sdk.runtime.clock import MonotonicClock
from edge_sdk.runtime.frames import has_diverged, known_codecs, model_weights, update_frames
from edge_sdk.runtime.loop import Loop
from edge_sdk.runtime.spool import FINAL_REFUSALS, TrainedUpdate, deliver
from edge_sdk.runtime.state import StateFolder, default_folder
from edge_sdk.runtime.training import run_in_thread
from edge_sdk.telemetry import ByteMeter, ProcessSensor, costs_of
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import (
    CheckIn,
    Choice,
    Commit,
    Enrol,
    Facts,
    Finished,
    Reading,
    Receipt,
    Task,
    Trained,
    TrainSettings,
    Vector,
    Wait,
)

_log = logging.getLogger(__name__)

State = TypeVar("State")

TRAINING_SHARE = 0.8
"""Share of a round's time after which training stops, so that what was learned can be sent."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Model:
    """A version of the model held in memory."""

    run: str
    version: int
    stage: int
    weights: Vector = dataclasses.field(repr=False)


class Client:
    """Takes part in a federation with this device's data.

    Everything but the first three arguments has a good default. Parts can be replaced by any
    object that keeps the contract in `edge_sdk.interfaces`; `edge_sdk.testing.check_*` tells.

    Args:
        url: the aggregation server, `https://host[:port][/prefix]`.
        token: join token from the operator, needed until the device is enrolled.
        data: a `Dataset`, or a pair of arrays (inputs, targets) with examples along axis 0.
        state: folder that survives restarts; by default one under `XDG_STATE_HOME`.
        name: what the operator sees this device as.
        ca: PEM file of authorities to trust instead of the system's.
        plain_http: allow `http://` to other machines; without it only to this one.
        threads: threads to train with.
        low_memory: spend CPU time to need less memory, for boards of 512 MB and less; changes how
            the whole process allocates.
        long_poll_s: how long the server may hold its answer to a check-in of `run`, 0 to 60.
        seed: of the retry jitter; drawn by default.
        policy, sensor, transport, clock: see `edge_sdk.interfaces`.
        engine: makes the engine for one stage of a plan.

    Raises:
        Misuse: an argument cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        data: Dataset | tuple[ArrayLike, ArrayLike],
        state: Path | str | None = None,
        name: str = "",
        ca: Path | str | None = None,
        plain_http: bool = False,
        threads: int = 1,
        low_memory: bool = False,
        long_poll_s: float = 20.0,
        seed: int | None = None,
        policy: Policy[State] | None = None,
        sensor: Sensor | None = None,
        engine: Callable[[Plan, int], Engine] | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        meter = ByteMeter()
        self._token = token
        self._name = name
        self._data = ArrayDataset(*data) if isinstance(data, tuple) else data
        self._fitted: Dataset = self._data
        self._folder = StateFolder(default_folder(url, name) if state is None else Path(state), url)
        self._seed = secrets.randbits(32) if seed is None else seed
        self._long_poll_s = long_poll_s
        self._policy: Policy[Any] = FixedPolicy() if policy is None else policy
        self._learned: Any = self._policy.start()
        self._sensor = ProcessSensor(meter) if sensor is None else sensor
        self._make_engine = engine or (
            lambda plan, stage: select_engine(
                plan, stage=stage, threads=threads, low_memory=low_memory
            )
        )
        self._transport = transport or HttpTransport(
            url, meter=meter, ca_file=ca, plain_http=plain_http
        )
        self._clock = MonotonicClock() if clock is None else clock
        self._enrolled = False
        self._answer: Task | Wait | Finished | None = None
        self._wait_s = 0.0
        self._plan: Plan | None = None
        self._model: _Model | None = None
        self._engine: tuple[str, int, Engine] | None = None

    @property
    def answer(self) -> Task | Wait | Finished | None:
        """The server's answer to the latest check-in; None when the last turn made none."""
        return self._answer

    # ------------------------------------------------------------------ the straight line

    async def participate(self) -> Receipt | None:
        """Take part once: deliver the update under way, or else ask for work and do it.

        Returns:
            The receipt; None when there was nothing to do, the policy sat out, or the update
            could not be counted any more. The log says which, and `answer` what the server said.

        Raises:
            Unreachable: the server did not answer; a trained update stays on disk.
            Refused: the server said no.
            Malformed: an answer is not what the protocol says.
            Misuse: not enrolled and no join token, or the data does not fit the plan.
            Unavailable: this machine cannot train the plan.
        """
        self._answer = None
        await self._enrol_once()
        if (under_way := self._folder.spool.load()) is not None:
            return await self._deliver(under_way, first_try=False)
        readings = [self._sensor.read()]
        self._answer = task = await self._transport.check_in(self._check_in())
        if not isinstance(task, Task):
            return None
        stop_s = self._clock.now_s() + TRAINING_SHARE * task.deadline_s
        readings.append(self._sensor.read())
        choice = self._decide(task, readings[-1])
        if not choice.takes_part:
            return None
        plan = await self._fetch_plan(task)
        weights = await self._fetch_model(plan, task, choice)
        readings.append(self._sensor.read())
        trained = await self._train(plan, weights, task, choice, stop_s=stop_s)
        readings.append(self._sensor.read())
        update = await run_in_thread(lambda _: self._save(task, choice, weights, trained, readings))
        if update is None:
            return None
        receipt = await self._deliver(update, first_try=True)
        self._learned = self._policy.learn(self._learned, choice, readings[0], self._sensor.read())
        return receipt

    async def run(self) -> None:
        """Take part until the run is finished, through restarts and outages of the server.

        Cancelling it (Ctrl-C) is safe at any moment; a later start goes on from there.

        Raises:
            Refused: the server revoked this device or will not enrol it.
            Misuse, Unavailable: as in `participate`.
        """
        self._wait_s = self._long_poll_s
        try:
            await Loop(self, clock=self._clock, backoff=Backoff(), seed=self._seed).run()
        finally:
            self._wait_s = 0.0
            await self.close()

    async def close(self) -> None:
        """Let go of the connection and the state folder; a later call takes them up again."""
        self._enrolled = False
        await self._transport.close()
        self._folder.release()

    def forget_identity(self) -> bool:
        """Drop an identity the server does not know, so that the next turn enrols again.

        Returns:
            False when that cannot help: there is no join token, or none was accepted.
        """
        if not self._enrolled or self._token is None:
            return False
        self._folder.forget_identity()
        self._enrolled = False
        return True

    # ------------------------------------------------------------------ its steps

    async def _enrol_once(self) -> None:
        if self._enrolled:
            return
        self._folder.acquire()
        identity = self._folder.load_identity()
        if identity is None:
            identity = await self._transport.enrol(self._enrol())
            self._folder.save_identity(identity)
            _log.info("enrolled as device %s", identity.device)
        self._transport.identify(identity)
        self._enrolled = True

    def _enrol(self) -> Enrol:
        if self._token is None:
            raise Misuse("this device is not enrolled yet: pass the operator's join token")
        facts = Facts(
            name=self._name[:200],
            platform=platform.platform()[:200],
            sdk=_release(),
            examples=len(self._data),
        )
        try:
            return Enrol(join_token=self._token, facts=facts)
        except ValidationError:
            raise Misuse("the join token is not of the form the operator gives out") from None

    def _check_in(self) -> CheckIn:
        held = self._model
        return CheckIn(
            wait_s=self._wait_s,
            holds_run=None if held is None else held.run,
            holds_version=None if held is None else held.version,
        )

    def _decide(self, task: Task, now: Reading) -> Choice:
        """The policy's choice among the codecs that this release knows."""
        if known := known_codecs(task.codecs):
            offer = dataclasses.replace(task, codecs=known)
            choice = self._policy.decide(self._learned, offer, now)
        else:
            choice = Choice(takes_part=False, why="no codec on offer is of this release")
        verb = "takes part in" if choice.takes_part else "sits out"
        _log.info("%s round %d: %s", verb, task.round, choice.why)
        return choice

    async def _fetch_plan(self, task: Task) -> Plan:
        """The task's plan: from memory, from disk or from the server."""
        if self._plan is None or self._plan.digest != task.plan:
            plan = self._folder.load_plan(task.plan)
            if plan is None:
                plan = load_plan(await self._transport.plan(task.plan))
                self._folder.save_plan(plan)
            self._fitted = (
                self._data.fit(plan) if isinstance(self._data, ArrayDataset) else self._data
            )
            self._plan = plan
        return self._plan

    async def _fetch_model(self, plan: Plan, task: Task, choice: Choice) -> Vector:
        """The model version to train from; kept in case the next task starts from it as well."""
        held = self._model
        wanted = (task.run, task.model_version, choice.stage)
        if held is None or (held.run, held.version, held.stage) != wanted:
            # Always a snapshot: version 1 of the format knows no other model frames.
            data = await self._transport.model(task.run, task.model_version, have=None)
            weights = model_weights(
                data,
                run=task.run,
                version=task.model_version,
                dimension=plan.layout(choice.stage).size,
            )
            held = self._model = _Model(*wanted, weights)
        return held.weights

    async def _train(
        self, plan: Plan, weights: Vector, task: Task, choice: Choice, *, stop_s: float
    ) -> Trained:
        settings = TrainSettings(
            epochs=choice.epochs,
            batch_size=task.batch_size,
            learning_rate=task.learning_rate,
            seed=task.seed,
        )

        def work(keep_going: KeepGoing) -> Trained:
            return self._engine_for(plan, choice.stage).train(
                weights,
                self._fitted,
                settings,
                keep_going=lambda: keep_going() and self._clock.now_s() < stop_s,
            )

        return await run_in_thread(work)

    def _engine_for(self, plan: Plan, stage: int) -> Engine:
        """The engine for this stage, kept because opening a graph is slow."""
        kept = self._engine
        if kept is None or kept[:2] != (plan.digest, stage):
            kept = self._engine = (plan.digest, stage, self._make_engine(plan, stage))
        return kept[2]

    def _save(
        self,
        task: Task,
        choice: Choice,
        weights: Vector,
        trained: Trained,
        readings: list[Reading],
    ) -> TrainedUpdate | None:
        """Encode what was learned and put it on disk; None when it is not worth sending."""
        delta = trained.weights - weights
        if trained.steps == 0 or has_diverged(delta):
            what = "diverged" if trained.steps else "found no time for a step"
            _log.warning("training for round %d %s; nothing is sent", task.round, what)
            return None
        loss = trained.loss if trained.loss is not None and math.isfinite(trained.loss) else None
        frames = update_frames(delta, task, choice, examples=trained.examples)
        costs = costs_of(("wait", "download", "train", "encode"), [*readings, self._sensor.read()])
        commit = Commit(
            chunks=len(frames),
            examples=trained.examples,
            steps=trained.steps,
            loss=loss,
            codec=choice.codec,
            why=choice.why,
            costs=costs,
        )
        update = TrainedUpdate(task, commit, tuple(frames))
        self._folder.spool.save(update)
        _log.info(
            "round %d: %d steps on %d examples, loss %s; %d bytes in %d chunks",
            task.round,
            trained.steps,
            trained.examples,
            "unknown" if loss is None else f"{loss:.4f}",
            sum(map(len, frames)),
            len(frames),
        )
        return update

    async def _deliver(self, update: TrainedUpdate, *, first_try: bool) -> Receipt | None:
        """Send and forget; an update that can never be counted is dropped, and said so."""
        try:
            receipt = await deliver(self._transport, update, first_try=first_try)
        except Refused as refusal:
            if refusal.reason not in FINAL_REFUSALS:
                raise
            _log.warning("update of round %d is dropped: %s", update.task.round, refusal)
            self._folder.spool.clear()
            return None
        self._folder.spool.clear()
        return receipt


def _release() -> str:
    try:
        return version("edge-sdk")
    except PackageNotFoundError:  # copied into an app without its metadata
        return ""
