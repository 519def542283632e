"""The device's side of split learning: batches up, gradients back, whatever connections do."""

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import AsyncIterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_sdk.engines.schedule import epoch_seed
from edge_sdk.engines.split import SplitTerms
from edge_sdk.engines.split_device import DeviceHalf
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.engines.tally import Tally
from edge_sdk.errors import Corrupt, Misuse, Unreachable
from edge_sdk.interfaces import Batch, Clock, Dataset, KeepGoing, SplitChannel, SplitTransport
from edge_sdk.plan import Plan
from edge_sdk.plan.split import DEVICE_PARTS, device_parts
from edge_sdk.runtime.backoff import Backoff
from edge_sdk.runtime.training import run_in_thread
from edge_sdk.values import Choice, Task, Trained, Vector
from edge_sdk.values.splitting import SplitBegin, SplitEnd, SplitReady

_log = logging.getLogger(__name__)


class SplitTrainer:
    """Trains the device's parts of a plan's split with a server, task after task.

    Args:
        transport: carries the sessions.
        clock: tells when to stop.
        threads: inside an operator.
        backoff: between attempts at a connection.
    """

    def __init__(
        self,
        transport: SplitTransport,
        clock: Clock,
        *,
        threads: int = 1,
        backoff: Backoff | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._threads = threads
        self._backoff = Backoff(cap_s=30.0) if backoff is None else backoff
        self._engines: tuple[str, list[PartEngine]] | None = None

    async def train(
        self,
        plan: Plan,
        weights: Vector,
        data: Dataset,
        *,
        task: Task,
        choice: Choice,
        stop_s: float,
    ) -> Trained:
        """Train the device's parts from `weights`, which stand in the order of `DEVICE_PARTS`.

        The server's half is durable when this returns. A broken connection, or a server that
        died, costs nothing but time; until `stop_s` the session is taken up again.

        Raises:
            Unreachable: the server stayed away until `stop_s`.
            Refused: by the server.
            Malformed: an answer is not what the protocol says, or activations are not finite.
            Misuse: the plan has no split, or the data does not fit it.
        """
        engines = await run_in_thread(lambda _: self._engines_for(plan))
        session = _Session(self._transport, self._clock, self._backoff, task, stop_s)
        try:
            ready = await session.begin()
            half = await run_in_thread(
                lambda _: DeviceHalf(plan, engines, _by_part(plan, weights), _terms(task, ready))
            )
            tally = Tally()
            stopped = False
            async for batch in _batches(data, task, choice, tally):
                if self._clock.now_s() >= stop_s or tally.steps == choice.most_steps:
                    stopped = self._clock.now_s() >= stop_s
                    break
                await self._step(session, half, batch)
                tally.count(half.loss or 0.0, examples=len(batch[0]))
            if tally.steps:
                await session.end()
        finally:
            await session.close()
        return Trained(
            weights=_joined(plan, half),
            examples=tally.distinct,
            steps=tally.steps,
            loss=tally.loss,
            stopped=stopped,
        )

    async def _step(self, session: "_Session", half: DeviceHalf, batch: Batch) -> None:
        try:
            message: bytes | None = await run_in_thread(lambda _: half.begin(*batch))
        except Misuse as error:
            raise Corrupt(f"the device's part gives no usable activations: {error}") from error
        while message is not None:
            answer = await session.exchange(message)
            message = await run_in_thread(partial(_take, half, answer))

    def _engines_for(self, plan: Plan) -> list[PartEngine]:
        """Engines of the device's parts, kept because opening graphs is slow."""
        if plan.split is None:
            raise Misuse(f"{plan.name} has no split")
        if self._engines is None or self._engines[0] != plan.digest:
            parts = device_parts(plan.split.parts)
            engines = [PartEngine(plan, part, threads=self._threads) for part in parts]
            self._engines = (plan.digest, engines)
        return self._engines[1]


class _Session:
    """One attempt at a task: messages counted, connections replaced."""

    def __init__(
        self,
        transport: SplitTransport,
        clock: Clock,
        backoff: Backoff,
        task: Task,
        stop_s: float,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._backoff = backoff
        self._task = task
        self._stop_s = stop_s
        self._attempt = secrets.randbits(53)
        self._answered = 0
        self._channel: SplitChannel | None = None
        self._ready: SplitReady | None = None

    async def begin(self) -> SplitReady:
        """How the session goes."""
        failures = 0
        while True:
            try:
                return await self._connect()
            except Unreachable as error:
                failures += 1
                await self._pause(failures, error)

    async def exchange(self, message: bytes) -> bytes:
        """Send a message and get its answer, whatever becomes of connections meanwhile."""
        failures = 0
        while True:
            try:
                answer = await self._exchange_once(message)
            except Unreachable as error:
                failures += 1
                await self._pause(failures, error)
            else:
                self._answered += 1
                return answer

    async def end(self) -> None:
        """The server's half becomes durable."""
        failures = 0
        while True:
            try:
                if self._channel is None:
                    await self._connect()
                if self._channel is not None:
                    await self._channel.end(SplitEnd(messages=self._answered))
                    return
            except Unreachable as error:
                failures += 1
                await self._pause(failures, error)

    async def close(self) -> None:
        """Let go of the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _exchange_once(self, message: bytes) -> bytes:
        held = self._answered
        if self._channel is None:
            held = (await self._connect()).held
        channel = self._channel
        if channel is None:
            raise Unreachable("no split connection")
        if held == self._answered:
            await channel.send(message)
        return await channel.receive()

    async def _connect(self) -> SplitReady:
        self._channel = await self._transport.split(self._task)
        asked = SplitBegin(attempt=self._attempt, answered=self._answered)
        ready = await self._channel.begin(asked)
        if ready.held - self._answered not in {0, 1}:
            raise Corrupt(f"{ready.held} messages held of {self._answered} answered")
        first = self._ready = self._ready or ready
        if dataclasses.replace(ready, held=first.held) != first:
            raise Corrupt("the server changed its mind within a session")
        return ready

    async def _pause(self, failures: int, error: Unreachable) -> None:
        """Wait before the next connection.

        Raises:
            Unreachable: there is no time left.
        """
        await self.close()
        delay_s = self._backoff.delay_s(failures, seed=self._attempt)
        if self._clock.now_s() + delay_s >= self._stop_s:
            raise error
        _log.info("split session of round %d: %s", self._task.round, error)
        await self._clock.sleep(delay_s)


async def _batches(data: Dataset, task: Task, choice: Choice, tally: Tally) -> AsyncIterator[Batch]:
    """The batches that training alone would use, in the same order."""
    for epoch in range(choice.epochs):
        tally.begin_epoch()
        for batch in data.batches(size=task.batch_size, seed=epoch_seed(task.seed, epoch)):
            yield batch
            await asyncio.sleep(0)


def _take(half: DeviceHalf, answer: bytes, _: KeepGoing) -> bytes | None:
    return half.take(answer)


def _terms(task: Task, ready: SplitReady) -> SplitTerms:
    return SplitTerms(
        run=task.run,
        round=task.round,
        seed=task.seed,
        learning_rate=task.learning_rate,
        activations=ready.activations,
        gradients=ready.gradients,
        correction=ready.correction,
    )


def _by_part(plan: Plan, weights: Vector) -> list[Vector]:
    """The device's weights by part."""
    if plan.split is None:
        raise Misuse(f"{plan.name} has no split")
    tensors = plan.layout(DEVICE_PARTS).split(weights)
    split = plan.split
    return [split.layout(part).flatten(tensors) for part in device_parts(split.parts)]


def _joined(plan: Plan, half: DeviceHalf) -> Vector:
    """The device's weights, in the order of `DEVICE_PARTS`."""
    if plan.split is None:
        raise Misuse(f"{plan.name} has no split")
    tensors: dict[str, NDArray[np.float32]] = {}
    for number, part in enumerate(device_parts(plan.split.parts)):
        tensors |= plan.split.layout(part).split(half.weights(number))
    return plan.layout(DEVICE_PARTS).flatten(tensors)
