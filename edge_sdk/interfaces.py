"""What you may replace: protocols, not base classes.

Any object with these methods will do; `edge_sdk.testing` has a public `check_*` for each, which
says whether the contract below is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edge_sdk.values import (
    CheckIn,
    Checkpoint,
    Choice,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Evaluation,
    Finished,
    Outcome,
    Piece,
    Place,
    Progress,
    Reading,
    Receipt,
    Task,
    Trained,
    TrainSettings,
    Vector,
    Wait,
)
from edge_sdk.values.splitting import SplitBegin, SplitEnd, SplitEnded, SplitReady

State = TypeVar("State")

Batch = tuple[NDArray[np.generic], NDArray[np.generic]]
"""Inputs and targets of some examples; both have the examples along axis 0."""

KeepGoing = Callable[[], bool]
"""Asked between steps; training stops within one step after it answers False."""


class Codec(Protocol):
    """Turns a vector into chunk payloads and back. A value: no state, equal arguments, equal bytes.

    Error feedback and memories are pure functions around a codec, never inside it.
    """

    @property
    def spec(self) -> str:
        """The text that names this codec and its parameters, e.g. `eden:bits=2`."""
        ...

    @property
    def unbiased(self) -> bool:
        """Whether the decoded vector's expectation over seeds is the vector itself."""
        ...

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> Sequence[bytes]:
        """Payloads, each at most `chunk_bytes` and decodable alone.

        Raises:
            Misuse: `vector` holds NaN or infinity, or is not one-dimensional float32; `seed` is not
                0 to 2**53 - 1; nothing fits into `chunk_bytes`.
        """
        ...

    def decode(self, payload: bytes, place: Place) -> Piece:
        """The values one payload carries.

        Raises:
            Malformed: the payload breaks the format or does not fit `place`; nothing else, ever.
        """
        ...


class Dataset(Protocol):
    """A device's own examples. They never leave the device."""

    def __len__(self) -> int:
        """Number of examples."""
        ...

    def batches(self, *, size: int, seed: int | None) -> Iterator[Batch]:
        """One pass over all examples in batches of `size` (the last may be smaller).

        With a seed: in an order drawn from it. With None: in stored order.
        """
        ...


class Engine(Protocol):
    """Trains one stage of one plan on this machine."""

    def train(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = ...,
    ) -> Trained:
        """Train from `weights` (layout order) and give the new ones; `weights` is not changed."""
        ...

    def evaluate(self, weights: Vector, data: Dataset, *, batch_size: int = ...) -> Evaluation:
        """Loss and, where the task has classes, accuracy over all of `data`."""
        ...


@runtime_checkable
class ResumableEngine(Protocol):
    """An engine that can go on where it stopped; optional. Its `train` gives a checkpoint then."""

    def resume(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        checkpoint: Checkpoint,
        keep_going: KeepGoing = ...,
    ) -> Trained:
        """Go on from `checkpoint` of a `train` with the same other arguments.

        The end is the same, bit for bit, as if that had never stopped.
        """
        ...


class Sensor(Protocol):
    """Looks at the hardware."""

    def read(self) -> Reading:
        """A reading now. Never raises; what this machine cannot tell is None."""
        ...


class Policy(Protocol[State]):
    """Decides what to do with a task. Pure, so that a month can be replayed in a test."""

    def start(self) -> State:
        """The state of a device that has learned nothing yet."""
        ...

    def decide(self, state: State, task: Task, now: Reading) -> Choice:
        """Take part or not; stage, codec and epochs, within what the task offers."""
        ...

    def learn(self, state: State, task: Task, choice: Choice, outcome: Outcome) -> State:
        """The state after a task: delivered, late, given up or declined (`outcome` tells)."""
        ...


@runtime_checkable
class LastingPolicy(Protocol[State]):
    """A policy that also says how its state is kept over restarts; optional."""

    def dumped(self, state: State) -> str:
        """The state as text, at most 64 KiB."""
        ...

    def loaded(self, text: str) -> State:
        """The state that `dumped` wrote.

        Raises:
            Malformed: the text is none of its own.
        """
        ...


class Transport(Protocol):
    """The one seam to the network.

    Every call raises `Unreachable` when the peer did not answer, `Refused` when it said no and
    `Malformed` when its answer is not what the protocol says; nothing else.
    """

    def identify(self, identity: Enrolled) -> None:
        """Be this device, enrolled earlier: later calls carry its token."""
        ...

    async def enrol(self, request: Enrol) -> Enrolled:
        """Join with a join token and become a device."""
        ...

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        """Ask for work."""
        ...

    async def plan(self, digest: str) -> bytes:
        """The plan bundle's bytes, whose SHA-256 is `digest` (checked here)."""
        ...

    async def model(
        self,
        run: str,
        version: int,
        *,
        have: int | None,
        stage: int | None = None,
        held_stage: int | None = None,
    ) -> bytes:
        """Model frames that lead from version `have` (None: from nothing) to `version`.

        `stage` is whose vector is wanted, `held_stage` whose is held in version `have`; None is the
        whole model.
        """
        ...

    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        """Send chunk frames; what the server then durably holds."""
        ...

    async def progress(self, task: Task) -> Progress:
        """What the server holds of this device's update."""
        ...

    async def commit(self, task: Task, commit: Commit) -> Receipt:
        """Close the update. Sending twice counts once."""
        ...

    async def decline(self, task: Task, decline: Decline) -> Wait:
        """Give the place in the task's round back. Sending twice is fine."""
        ...

    async def close(self) -> None:
        """Let go of connections; the transport is not used afterwards."""
        ...


class SplitChannel(Protocol):
    """A connection on which a device trains its part of a split with the server.

    Calls raise as those of `Transport`. After `Unreachable` the channel is dead; another one goes
    on where it stood.
    """

    async def begin(self, request: SplitBegin) -> SplitReady:
        """Begin or go on; where the server holds one message more, `receive` gives its answer."""
        ...

    async def send(self, message: bytes) -> None:
        """Send a batch message."""
        ...

    async def receive(self) -> bytes:
        """The answer to the last message, or to the one the server held more."""
        ...

    async def end(self, request: SplitEnd) -> SplitEnded:
        """No more batches."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


@runtime_checkable
class SplitTransport(Protocol):
    """A transport that can also carry split learning."""

    async def split(self, task: Task) -> SplitChannel:
        """Open a channel for a task; raises as the calls of `Transport`."""
        ...


@runtime_checkable
class RotatingTransport(Protocol):
    """A transport that can also ask for a fresh device token."""

    async def rotate(self) -> Enrolled:
        """A fresh token for this device; raises as the calls of `Transport`.

        The transport goes on with the old one, which the server takes until the fresh one is first
        used, so that the caller can save it before: `identify` makes it the one in use.
        """
        ...


class Clock(Protocol):
    """Time as an argument: only the runtime and the server's app hold a real one."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let that much of this clock's time pass."""
        ...
