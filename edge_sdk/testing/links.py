"""A link with a rate and a latency in front of a `ScriptedServer`, in the time of a clock."""

from collections.abc import Callable, Sequence

from edge_sdk.errors import Reason, Refused
from edge_sdk.interfaces import Clock
from edge_sdk.telemetry import ByteMeter, LinkMeter
from edge_sdk.testing.server import ScriptedServer
from edge_sdk.values import (
    CheckIn,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Finished,
    Progress,
    Reading,
    Receipt,
    Task,
    Wait,
)

Rate = Callable[[int], float]
"""Bytes a second in a round, by its number."""


class PacedTransport:
    """An `interfaces.Transport` that takes time, and rounds that close at their deadline.

    A round's time runs from the moment it was first offered. An upload that would end later is cut
    there and refused as `round-closed`, as far as it got.

    Args:
        server: the peer.
        clock: whose time passes.
        up: bytes a second, by round.
        down: bytes a second.
        latency_s: of every request.
    """

    def __init__(
        self,
        server: ScriptedServer,
        clock: Clock,
        *,
        up: Rate,
        down: float = 1e6,
        latency_s: float = 0.1,
    ) -> None:
        self._server = server
        self._clock = clock
        self._up = up
        self._down = down
        self._latency_s = latency_s
        self._round = 0
        self._ends_s: dict[int, float] = {}
        self.links = LinkMeter()
        """What the transfers so far say of the link."""
        self.meter = ByteMeter()
        """Counts bodies of plans, models and updates."""
        self.late: list[int] = []
        """Rounds whose update came too late."""

    def read(self) -> Reading:
        """An `interfaces.Sensor` that tells time, bytes and goodput."""
        return Reading(
            at_s=self._clock.now_s(),
            sent_bytes=self.meter.sent_bytes,
            received_bytes=self.meter.received_bytes,
            goodput=self.links.goodput(),
        )

    def identify(self, identity: Enrolled) -> None:
        """See `Transport.identify`."""
        self._server.identify(identity)

    async def enrol(self, request: Enrol) -> Enrolled:
        """See `Transport.enrol`."""
        await self._clock.sleep(self._latency_s)
        return await self._server.enrol(request)

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        """See `Transport.check_in`."""
        await self._clock.sleep(self._latency_s)
        answer = await self._server.check_in(request)
        if isinstance(answer, Task):
            self._round = answer.round
            self._ends_s.setdefault(answer.round, self._clock.now_s() + answer.deadline_s)
        return answer

    async def plan(self, digest: str) -> bytes:
        """See `Transport.plan`."""
        return await self._received(await self._server.plan(digest))

    async def model(
        self,
        run: str,
        version: int,
        *,
        have: int | None,
        stage: int | None = None,
        held_stage: int | None = None,
    ) -> bytes:
        """See `Transport.model`."""
        return await self._received(
            await self._server.model(run, version, have=have, stage=stage, held_stage=held_stage)
        )

    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        """See `Transport.upload`."""
        size, rate = sum(map(len, frames)), self._up(task.round)
        left_s = self._ends_s[task.round] - self._clock.now_s()
        seconds = self._latency_s + size / rate
        if seconds > left_s:
            await self._clock.sleep(max(left_s, 0.0))
            handed = int(max(0.0, left_s - self._latency_s) * rate)
            self.links.transferred("up", handed, max(left_s, 0.0), whole=False)
            self._server.close_round(task.round)
            self.late.append(task.round)
            raise Refused(Reason.ROUND_CLOSED)
        await self._clock.sleep(seconds)
        self.meter.add_sent(size)
        self.links.transferred("up", size, seconds)
        return await self._server.upload(task, frames)

    async def progress(self, task: Task) -> Progress:
        """See `Transport.progress`."""
        await self._clock.sleep(self._latency_s)
        return await self._server.progress(task)

    async def commit(self, task: Task, commit: Commit) -> Receipt:
        """See `Transport.commit`."""
        await self._clock.sleep(self._latency_s)
        self.links.transferred("up", 1, self._latency_s)
        return await self._server.commit(task, commit)

    async def decline(self, task: Task, decline: Decline) -> Wait:
        """See `Transport.decline`."""
        await self._clock.sleep(self._latency_s)
        return await self._server.decline(task, decline)

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._server.close()

    async def _received(self, body: bytes) -> bytes:
        seconds = self._latency_s + len(body) / self._down
        await self._clock.sleep(seconds)
        self.meter.add_received(len(body))
        self.links.transferred("down", len(body), seconds)
        return body
