"""One participation, as a straight line: from asking for work to the receipt."""

import dataclasses
import logging
import secrets
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from edge_sdk.adaptation import BudgetPolicy, Eligibility, Quotas
from edge_sdk.datasets import ArrayDataset
from edge_sdk.errors import Malformed, Misuse, Reason, Refused, Unavailable, Unreachable
from edge_sdk.interfaces import Clock, Dataset, Policy, Sensor, Transport
from edge_sdk.runtime.attempt import Attempt
from edge_sdk.runtime.backoff import Backoff
from edge_sdk.runtime.clock import MonotonicClock
from edge_sdk.runtime.frames import known_codecs
from edge_sdk.runtime.loop import Loop
from edge_sdk.runtime.makers import engine_maker, split_maker
from edge_sdk.runtime.membership import Membership
from edge_sdk.runtime.phases import PhaseLog
from edge_sdk.runtime.spool import (
    FINAL_REFUSALS,
    FRUITLESS_REFUSALS,
    KEPT_REFUSALS,
    TrainedUpdate,
    deliver,
)
from edge_sdk.runtime.state import StateFolder, state_of
from edge_sdk.runtime.steward import Steward
from edge_sdk.runtime.trainer import Interrupted, Trainer
from edge_sdk.runtime.workbench import MakeEngine, NothingToSend, Workbench
from edge_sdk.telemetry import ByteMeter, LinkMeter, ProcessSensor
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import (
    CheckIn,
    Choice,
    Decline,
    Finished,
    Outcome,
    Reading,
    Receipt,
    Task,
    Wait,
)

_log = logging.getLogger(__name__)

State = TypeVar("State")

MAX_SENTENCE = 200
"""Characters in a `ShortText`."""

TRAINING_SHARE = 0.8
"""Share of a round's time after which training stops, so that what was learned can be sent."""

REST_S = 60.0
"""How long a device that may not work now waits before it looks again."""


class Client:
    """Takes part in a federation with this device's data.

    Everything but the first three arguments has a good default. Parts can be replaced by any
    object that keeps the contract in `edge_sdk.interfaces`; `edge_sdk.testing.check_*` tells.

    Args:
        url: the aggregation server, `https://host[:port][/prefix]`.
        token: join token from the operator, needed until the device is enrolled.
        data: a `Dataset`, or a pair of arrays (inputs, targets) with examples along axis 0.
        state: folder that survives restarts, or what keeps it; by default one under
            `XDG_STATE_HOME`.
        name: what the operator sees this device as.
        ca: PEM file of authorities to trust instead of the system's.
        plain_http: allow `http://` to other machines; without it only to this one.
        threads: threads to train with.
        low_memory: spend CPU time to need less memory, for boards of 512 MB and less; changes how
            the whole process allocates.
        long_poll_s: how long the server may hold its answer to a check-in of `run`, 0 to 60.
        rotate_token_days: age in days at which this device replaces its token; never by default.
        seed: of the retry jitter; drawn by default.
        eligibility: when this device may work; by default always, unless it is too hot.
        quotas: what it may use of the owner's traffic and energy.
        memory_limit: bytes this process may hold; shorthand for `Quotas.memory_bytes`. A way of
            training expected to need more is not taken.
        policy: decides what to do with a task; a `BudgetPolicy` by default.
        sensor, transport, clock: see `edge_sdk.interfaces`.
        engine: makes the engine for one stage of a plan, or for its warm-up.

    Raises:
        Misuse: an argument cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        data: Dataset | tuple[ArrayLike, ArrayLike],
        state: StateFolder | Path | str | None = None,
        name: str = "",
        ca: Path | str | None = None,
        plain_http: bool = False,
        threads: int = 1,
        low_memory: bool = False,
        long_poll_s: float = 20.0,
        rotate_token_days: float | None = None,
        seed: int | None = None,
        eligibility: Eligibility | None = None,
        quotas: Quotas | None = None,
        memory_limit: int | None = None,
        policy: Policy[State] | None = None,
        sensor: Sensor | None = None,
        engine: MakeEngine | None = None,
        transport: Transport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._meter = ByteMeter()
        self._links = LinkMeter()
        self._data = ArrayDataset(*data) if isinstance(data, tuple) else data
        self._folder = state_of(url, name, state)
        self._seed = secrets.randbits(32) if seed is None else seed
        self._long_poll_s = long_poll_s
        self._senses = sensor is None
        self._own_sensor = None if sensor else ProcessSensor(self._meter)
        self._transport = transport or HttpTransport(
            url, meter=self._meter, watcher=self._links, ca_file=ca, plain_http=plain_http
        )
        self._watched = transport is None
        self._membership = Membership(
            self._folder, self._transport, token=token, name=name, rotate_days=rotate_token_days
        )
        self._clock = MonotonicClock() if clock is None else clock
        chosen: Policy[Any] = BudgetPolicy() if policy is None else policy
        self._steward = Steward(
            chosen,
            sensor=sensor or self._own_sensor or ProcessSensor(self._meter),
            links=self._links,
            eligibility=eligibility or Eligibility(),
            quotas=_limited(quotas or Quotas(), memory_limit),
            books=self._folder.books,
        )
        self._bench = Workbench(
            self._data,
            engine or engine_maker(threads=threads, low_memory=low_memory),
            folder=self._folder,
            transport=self._transport,
            trainer=Trainer(
                self._folder.books, self._clock, lambda: self._steward.objection(training=True)
            ),
            make_split=split_maker(self._transport, self._clock, threads=threads),
        )
        self._answer: Task | Wait | Finished | None = None
        self._wait_s = 0.0
        self._to_prepare = True
        self._given_back: tuple[str, int] | None = None
        self._attempt: Attempt | None = None

    @property
    def answer(self) -> Task | Wait | Finished | None:
        """What the server last said of work in the latest turn; None when it was not asked.

        After a place was given back it is the `Wait` that this was answered with; while the owner's
        conditions keep the device from working, a `Wait` that says so.
        """
        return self._answer

    # ------------------------------------------------------------------ the straight line

    async def participate(self) -> Receipt | None:
        """Take part once: deliver the update under way, or else ask for work and do it.

        Returns:
            The receipt; None when there was nothing to do, the device may not work now, the place
            was given back (the policy sat out, the plan is broken, training diverged) or the update
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
        await self._membership.rotate_if_old()
        if (why := self._steward.objection()) is not None:
            self._rest(why)
            return None
        if (under_way := self._folder.spool.load()) is not None:
            return await self._deliver(under_way, first_try=False)
        await self._prepare()
        log = PhaseLog(self._steward.look)
        self._answer = task = await self._transport.check_in(self._check_in())
        return await self._take(task, log) if isinstance(task, Task) else None

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
        self._membership.leave()
        await self._transport.close()
        if self._own_sensor is not None:
            self._own_sensor.close()
            self._own_sensor = None
        self._folder.release()

    def forget_identity(self) -> bool:
        """Drop an identity the server does not know, so that the next turn enrols again.

        Returns:
            False when that cannot help: there is no join token, or none was accepted.
        """
        return self._membership.forget()

    async def rotate_token(self) -> None:
        """Replace this device's token by a fresh one, between two participations.

        The fresh one is on disk before it is used, and the server takes the old one until then: a
        lost answer or a power cut costs nothing but another try.

        Raises:
            Misuse: the transport cannot do that; or not enrolled and no join token.
            Unreachable, Refused, Malformed, Unavailable: the old token stays in use.
        """
        await self._enrol_once()
        await self._membership.rotate()

    # ------------------------------------------------------------------ its steps

    async def _take(self, task: Task, log: PhaseLog) -> Receipt | None:
        """Decide on a task, and do it."""
        arrived_s = self._clock.now_s()
        choice = self._decide(task, log.end("wait"))
        if not choice.takes_part:
            self._steward.ended(task, choice, Outcome(took_part=False, after=log.last))
            await self._decline(task, choice.why)
            return None
        self._attempt = Attempt(task, choice, log, arrived_s)
        stop_s = arrived_s + _training_s(task, choice)
        try:
            update = await self._work(task, choice, log, stop_s=stop_s)
        except Interrupted as interruption:
            self._attempt = None
            self._rest(str(interruption))
            return None
        if isinstance(update, NothingToSend):
            _log.warning("round %d: %s; nothing is sent", task.round, update.why)
            self._learn(None, delivered=False)
            await self._decline(task, update.why)
            return None
        self._folder.books.drop_checkpoint()
        return await self._deliver(update, first_try=True)

    async def _enrol_once(self) -> None:
        if self._membership.enrolled:
            return
        self._folder.acquire()
        self._open()
        await self._membership.join(examples=len(self._data))

    async def _prepare(self) -> None:
        """Have the plan before the first task, if the server told which it will be."""
        plan, self._to_prepare = self._membership.plan if self._to_prepare else None, False
        if plan is None:
            return
        try:
            await self._bench.prepare(plan)
        except (Unreachable, Refused, Malformed) as error:  # the task itself will tell
            _log.info("plan not fetched ahead: %s", error)

    def _open(self) -> None:
        """Take up the books, and a sensor of its own again after `close`."""
        self._steward.open()
        if self._senses and self._own_sensor is None:
            self._own_sensor = ProcessSensor(self._meter)
            self._steward.use(self._own_sensor)

    def _rest(self, why: str) -> None:
        """Do nothing now: the owner's conditions are not met."""
        _log.info("rests: %s", why)
        self._answer = Wait(retry_after_s=REST_S, why=_short(why))

    def _check_in(self) -> CheckIn:
        held, memory = self._bench.model, self._folder.spool.carried()
        run = held.run if held is not None else memory.run if memory is not None else None
        return CheckIn(
            wait_s=self._wait_s,
            holds_run=run,
            holds_version=None if held is None else held.version,
            holds_stage=None if held is None else held.stage,
            memory_round=memory.round if memory is not None and memory.run == run else None,
            report=self._steward.report(),
        )

    def _decide(self, task: Task, now: Reading) -> Choice:
        """The policy's choice among the codecs that this release knows."""
        known = known_codecs(task.codecs)
        if (task.run, task.round) == self._given_back:
            choice = Choice(takes_part=False, why="it gave its place in this round back")
        elif (fault := self._bench.fault_of(task.plan)) is not None:
            choice = Choice(takes_part=False, why=_short(fault))
        elif not known:
            choice = Choice(takes_part=False, why="no codec on offer is of this release")
        else:
            choice = self._steward.decide(dataclasses.replace(task, codecs=known), now)
        verb = "takes part in" if choice.takes_part else "sits out"
        _log.info("%s round %d: %s", verb, task.round, choice.why)
        return choice

    async def _work(
        self, task: Task, choice: Choice, log: PhaseLog, *, stop_s: float
    ) -> TrainedUpdate | NothingToSend:
        """Do the task; what this device can never do gives its place back and is raised on."""
        try:
            return await self._bench.work(task, choice, log, stop_s=stop_s)
        except Misuse:
            # The message may speak of the examples, so it stays here.
            await self._decline(task, "this device's data or settings do not fit the plan")
            raise
        except Unavailable:
            await self._decline(task, "this machine cannot train the plan")
            raise
        except (Unreachable, Refused, Malformed, Interrupted):
            raise  # a download failed or training rests; a later turn needs the place
        except Exception:  # of a replaced part, e.g. a dataset that cannot read its card
            await self._decline(task, "a part of this device's program failed")
            raise

    async def _decline(self, task: Task, why: str) -> None:
        """Give the place back, so that nobody waits for this device; at best, not at all costs."""
        self._given_back = (task.run, task.round)
        try:
            self._answer = await self._transport.decline(task, Decline(why=_short(why)))
        except (Unreachable, Malformed, Refused) as error:
            _log.info("place in round %d not given back: %s", task.round, error)
        else:
            _log.info("gave the place in round %d back", task.round)

    async def _deliver(self, update: TrainedUpdate, *, first_try: bool) -> Receipt | None:
        """Send and forget; an update that can never be counted is dropped, and said so."""
        started_s, sent = self._clock.now_s(), False
        try:
            receipt = await deliver(self._transport, update, first_try=first_try)
            sent = True
        except Refused as refusal:
            if refusal.reason not in FINAL_REFUSALS:
                raise
            self._learn(update, delivered=False, late=refusal.reason is Reason.ROUND_CLOSED)
            _log.warning("update of round %d is dropped: %s", update.task.round, refusal)
            if refusal.reason in KEPT_REFUSALS:
                self._folder.spool.settle(update, ())
            else:
                self._folder.spool.drop(update)
            if refusal.reason in FRUITLESS_REFUSALS:
                await self._decline(update.task, f"its update was refused as {refusal.reason}")
            return None
        finally:
            if first_try and not self._watched:
                size = sum(map(len, update.frames))
                seconds = self._clock.now_s() - started_s
                self._links.transferred("up", size, seconds, whole=sent)
        self._folder.spool.settle(update, receipt.chunks)
        self._learn(update, delivered=True)
        return receipt

    def _learn(self, update: TrainedUpdate | None, *, delivered: bool, late: bool = False) -> None:
        """Tell the steward how the attempt under way ended; of one before a restart nothing."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        task = attempt.task
        attempt.log.end("upload")
        plan = self._bench.plan
        if plan is not None and plan.digest == task.plan:
            sizes = tuple(plan.layout(stage).size for stage in range(plan.stages))
            self._steward.knows_sizes(task.plan, sizes)
        outcome = attempt.outcome(
            update,
            plan,
            examples=len(self._data),
            delivered=delivered,
            late=late,
            now_s=self._clock.now_s(),
        )
        self._steward.ended(task, attempt.choice, outcome)


def _limited(quotas: Quotas, memory_limit: int | None) -> Quotas:
    return (
        quotas if memory_limit is None else dataclasses.replace(quotas, memory_bytes=memory_limit)
    )


def _training_s(task: Task, choice: Choice) -> float:
    """Seconds after the task's arrival at which training stops."""
    until_s = choice.train_until_s
    return TRAINING_SHARE * task.deadline_s if until_s is None else until_s


def _short(text: str) -> str:
    """As much of `text` as a message's sentence holds."""
    return text if len(text) <= MAX_SENTENCE else text[: MAX_SENTENCE - 1] + "…"
