"""All sessions of the round under way, within a bound of memory and threads.

Each open session holds one copy of the server's part with its optimizer state and the last answer.
What all may hold together is `most_sessions` times that; further devices are told to come back.
A session without a connection is dropped from memory when its room is needed; its log stays, and it
is worked in again when the device returns. All go with the first session of the next round.
"""

import asyncio
import dataclasses
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from edge_sdk.engines.split import SplitTerms
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.errors import Reason, Refused
from edge_sdk.plan import Plan
from edge_sdk.plan.split import SERVER_PART
from edge_sdk.values import Vector
from edge_sdk.wire.batch import BATCH_HEADER_BYTES
from server_ref.split.results import Results
from server_ref.split.session import Session

T = TypeVar("T")

FULL_RETRY_S = 10.0

MOST_EXAMPLES = 256
LEAST_MESSAGE_BYTES = 1 << 16
MOST_MESSAGE_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SplitRound:
    """What sessions of one round start from."""

    number: int
    weights: Vector
    """Of the server's part."""
    results: Results


@dataclasses.dataclass(slots=True)
class _Seat:
    """A session in memory."""

    session: Session
    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    """Held while a thread works on the session."""
    holder: int = 0
    """Number of the connection that the session belongs to; a later one takes it over."""
    connected: bool = False


class Visit:
    """One connection's hold on a session."""

    def __init__(self, room: "SplitRoom", seat: _Seat) -> None:
        self._room = room
        self._seat = seat
        seat.holder += 1
        seat.connected = True
        self._number = seat.holder

    @property
    def terms(self) -> SplitTerms:
        """Of the session."""
        return self._seat.session.terms

    @property
    def most_bytes(self) -> int:
        """Largest message of the session."""
        return self._room.most_bytes

    async def work(self, job: Callable[[Session], T]) -> T:
        """Do a job on the session in a thread.

        Raises:
            Refused: `conflict` when a later connection has taken the session over.
        """
        async with self._seat.lock:
            if self._number != self._seat.holder:
                raise Refused(Reason.CONFLICT, "another connection has taken this session over")
            return await self._room.in_thread(partial(job, self._seat.session))

    def leave(self) -> None:
        """The connection is gone; the session stays until its room is needed."""
        if self._number == self._seat.holder:
            self._seat.connected = False


class SplitRoom:
    """Sessions of one run. All calls on one event loop.

    Args:
        plan: with a split.
        most_sessions: in memory at once.
        threads: that train at once, one core each.

    Raises:
        Misuse: the plan has no split.
    """

    def __init__(self, plan: Plan, *, most_sessions: int = 256, threads: int = 2) -> None:
        self._plan = plan
        # Without an arena: states outlive steps, and would keep its blocks in pieces.
        self._engine = PartEngine(plan, SERVER_PART, arena=False)
        self._most = most_sessions
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="split")
        self._round = 0
        self._seats: dict[str, _Seat] = {}

    def __len__(self) -> int:
        """Sessions in memory."""
        return len(self._seats)

    @property
    def most_bytes(self) -> int:
        """Largest message taken: a batch of `MOST_EXAMPLES` as float32, and the header.

        An operator who wants larger batches cuts where the activation is smaller.
        """
        split = self._plan.split
        numbers = max(math.prod(cut.shape) for cut in split.cuts) if split else 0
        targets = 8 * math.prod(self._plan.target.shape)
        whole = MOST_EXAMPLES * (4 * numbers + targets)
        return BATCH_HEADER_BYTES + min(max(whole, LEAST_MESSAGE_BYTES), MOST_MESSAGE_BYTES)

    def visit(self, device: str, terms: SplitTerms, of: SplitRound) -> Visit:
        """Let a connection of `device` into its session.

        Raises:
            Refused: `busy` while there is no room.
        """
        if of.number != self._round:
            self._round = of.number
            self._seats.clear()
        seat = self._seats.get(device)
        if seat is None:
            self._make_room()
            session = Session(
                self._plan, self._engine, of.weights, terms, results=of.results, device=device
            )
            seat = self._seats[device] = _Seat(session)
        return Visit(self, seat)

    def sweep(self) -> None:
        """Drop sessions without a connection from memory."""
        for device in [d for d, seat in self._seats.items() if not seat.connected]:
            del self._seats[device]

    async def in_thread(self, job: Callable[[], T]) -> T:
        """Do a job in one of the room's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, job)

    async def close(self) -> None:
        """Let steps under way end."""
        await asyncio.to_thread(self._threads.shutdown)

    def _make_room(self) -> None:
        if len(self._seats) >= self._most:
            self.sweep()
        if len(self._seats) >= self._most:
            raise Refused(
                Reason.BUSY, f"{self._most} split sessions are open", retry_after_s=FULL_RETRY_S
            )
