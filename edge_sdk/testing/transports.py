"""Checks and fakes for `interfaces.Transport`."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TypeVar

import numpy as np

from edge_sdk.errors import Malformed, Refused, Unreachable
from edge_sdk.interfaces import Transport
from edge_sdk.testing.promises import promise
from edge_sdk.testing.server import ScriptedServer
from edge_sdk.values import (
    CheckIn,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Finished,
    Progress,
    Receipt,
    Task,
    Wait,
)

Answer = TypeVar("Answer")


class Fault(StrEnum):
    """What happens to one call."""

    NONE = "none"
    BEFORE = "before"
    """The request never reaches the peer."""
    AFTER = "after"
    """The peer did what was asked; its answer is lost."""
    CUT = "cut"
    """An upload breaks off in the middle of its last frame but one; other calls as `AFTER`."""


def seeded_faults(seed: int, *, rate: float = 0.3) -> Iterator[Fault]:
    """Endless faults drawn from a seed; a call goes wrong with probability `rate`."""
    draw = np.random.Generator(np.random.PCG64(seed))
    kinds = (Fault.BEFORE, Fault.AFTER, Fault.CUT)
    while True:
        faulty, which = draw.random() < rate, int(draw.integers(len(kinds)))
        yield kinds[which] if faulty else Fault.NONE


class FlakyTransport:
    """A poor link to a `ScriptedServer`; an `interfaces.Transport`.

    Args:
        server: the peer.
        faults: one for each call in order; after the last, nothing goes wrong any more.
    """

    def __init__(self, server: ScriptedServer, faults: Iterable[Fault]) -> None:
        self._server = server
        self._faults = iter(faults)
        self.calls: list[tuple[str, Fault]] = []
        """Every call so far and what happened to it."""

    def identify(self, identity: Enrolled) -> None:
        """Nothing goes over the link here."""
        self._server.identify(identity)

    async def enrol(self, request: Enrol) -> Enrolled:
        """See `Transport.enrol`."""
        return await self._carry("enrol", lambda: self._server.enrol(request))

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        """See `Transport.check_in`."""
        return await self._carry("check_in", lambda: self._server.check_in(request))

    async def plan(self, digest: str) -> bytes:
        """See `Transport.plan`."""
        return await self._carry("plan", lambda: self._server.plan(digest))

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
        return await self._carry(
            "model",
            lambda: self._server.model(run, version, have=have, stage=stage, held_stage=held_stage),
        )

    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        """See `Transport.upload`; a cut one leaves the first frames with the server."""
        if (fault := next(self._faults, Fault.NONE)) is Fault.CUT:
            self.calls.append(("upload", fault))
            self._server.receive(task, b"".join(frames[:-1])[:-1])
            raise Unreachable("upload cut")
        return await self._carry("upload", lambda: self._server.upload(task, frames), fault)

    async def progress(self, task: Task) -> Progress:
        """See `Transport.progress`."""
        return await self._carry("progress", lambda: self._server.progress(task))

    async def commit(self, task: Task, commit: Commit) -> Receipt:
        """See `Transport.commit`."""
        return await self._carry("commit", lambda: self._server.commit(task, commit))

    async def decline(self, task: Task, decline: Decline) -> Wait:
        """See `Transport.decline`."""
        return await self._carry("decline", lambda: self._server.decline(task, decline))

    async def close(self) -> None:
        """See `Transport.close`."""
        await self._server.close()

    async def _carry(
        self, name: str, call: Callable[[], Awaitable[Answer]], fault: Fault | None = None
    ) -> Answer:
        fault = next(self._faults, Fault.NONE) if fault is None else fault
        self.calls.append((name, fault))
        if fault is Fault.BEFORE:
            raise Unreachable(f"{name} lost on its way")
        answer = await call()
        if fault is not Fault.NONE:
            raise Unreachable(f"answer to {name} lost")
        return answer


async def check_transport(
    transport: Transport,
    *,
    join_token: str,
    frames: Callable[[Task], Sequence[bytes]],
) -> None:
    """Hold `transport` against its contract, on a server that has a task for a new device.

    The device enrols twice in one attempt, fetches plan and model, sends its update twice and
    commits it twice. `check_decline` holds the rest of the contract.

    Args:
        transport: not enrolled yet; left open.
        join_token: the server takes it once more, and needs to take it no more often.
        frames: the update's frames for a task; at least two of them.

    Raises:
        AssertionError: naming the broken promise.
    """
    task = await _first_task(transport, join_token)
    plan = await transport.plan(task.plan)
    promise(hashlib.sha256(plan).hexdigest() == task.plan, "a plan has the digest asked for")
    model = await transport.model(task.run, task.model_version, have=None)
    promise(len(model) > 0, "a model has bytes")
    await _check_refusal(transport)
    chunks = frames(task)
    promise((await transport.progress(task)).held == (), "nothing is held before an upload")
    part = await transport.upload(task, chunks[:1])
    promise(part == Progress(held=((0, 1),)), "a part of an update is held")
    whole = await transport.upload(task, chunks)
    promise(whole.held == ((0, len(chunks)),), "all chunks are held, the repeated one once")
    promise(await transport.progress(task) == whole, "progress says what the upload said")
    commit = Commit(chunks=len(chunks), examples=3, codec=task.codecs[0])
    receipt = await transport.commit(task, commit)
    promise(receipt.chunks == whole.held, "the receipt lists the chunks counted")
    promise(await transport.commit(task, commit) == receipt, "committing twice gives one receipt")
    promise((await transport.progress(task)).receipt == receipt, "progress repeats the receipt")


async def check_decline(transport: Transport, *, join_token: str) -> None:
    """Hold `transport.decline` against its contract, on a server that has a task for a new device.

    The device enrols, checks in and gives its place back, twice.

    Args:
        transport: not enrolled yet; left open.
        join_token: the server takes it once more.

    Raises:
        AssertionError: naming the broken promise.
    """
    task = await _first_task(transport, join_token)
    for which in ("a decline", "a decline sent again"):
        answer = await transport.decline(task, Decline(why="a check"))
        promise(isinstance(answer, Wait), f"{which} is answered by a wait")
    later = await transport.check_in(CheckIn())
    same = isinstance(later, Task) and (later.run, later.round) == (task.run, task.round)
    promise(not same, "who declined gets no place in the same round again")
    commit = Commit(chunks=1, examples=1, codec=task.codecs[0])
    try:
        await transport.commit(task, commit)
    except Refused:
        return
    promise(kept=False, text="who declined has no place: a commit is refused")


async def _first_task(transport: Transport, join_token: str) -> Task:
    """Enrol, as if the first answer had been lost, and ask for work."""
    request = Enrol(join_token=join_token, attempt=secrets.token_urlsafe(32))
    first = await transport.enrol(request)
    again = await transport.enrol(request)
    promise(again.device == first.device, "the same attempt to enrol gives the same device")
    transport.identify(again)
    task = await transport.check_in(CheckIn())
    if not isinstance(task, Task):
        text = "broken promise: a new device is offered the server's task"
        raise AssertionError(text)  # noqa: TRY004 - what every check raises
    return task


async def _check_refusal(transport: Transport) -> None:
    try:
        await transport.plan("0" * 64)
    except Refused:
        return
    except Exception as error:
        kind = "Malformed" if isinstance(error, Malformed) else type(error).__name__
        raise AssertionError(f"broken promise: a refusal is Refused, not {kind}") from error
    raise AssertionError("broken promise: a plan that is not there is refused")
