"""Plain frozen data that crosses rooms.

Two kinds live here. *Messages and facts* are pydantic dataclasses: strict, frozen, unknown fields
refused, every number bounded, so that the same class checks a JSON body and a call from Python.
*Array carriers* (`Layout`, `Piece`, …) are ordinary frozen dataclasses around numpy arrays.

Rules: units are in names; `None` means "cannot tell" and is never written as zero; integers that
cross JSON or SQLite stay below 2**53; cumulative counters mean something only as differences.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, StringConstraints
from pydantic.dataclasses import dataclass

Vector = NDArray[np.float32]
"""One-dimensional float32 array: every trainable parameter of a stage, in layout order."""

Tensors = Mapping[str, NDArray[np.float32]]
"""Float32 arrays by parameter name."""

F = TypeVar("F", bound=np.floating)

MAX_COUNT = 2**53 - 1
"""Largest integer that survives JSON, SQLite and float64 unchanged."""

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seed = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]
RunId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
DeviceId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{20,128}$")]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
CodecSpec = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,31}(:[a-z0-9=.,+-]{1,96})?$")
]
ShortText = Annotated[str, StringConstraints(max_length=200)]
Range = tuple[Count, Count]
"""Half-open range of chunk indices, `first` up to but without `end`."""


# ------------------------------------------------------------------ the model as one flat vector


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One trainable tensor: its name in the graph and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """The order in which a stage's parameters form one flat vector.

    Codecs, wire and server see only the vector; names and shapes live in the plan.
    """

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int:
        """Length of the flat vector: the update's dimension."""
        return sum(parameter.size for parameter in self.parameters)

    def flatten(self, tensors: Tensors) -> Vector:
        """Concatenate `tensors` in layout order into a new float32 vector of length `size`."""
        if not self.parameters:
            return np.zeros(0, np.float32)
        flat = [np.asarray(tensors[p.name], np.float32).reshape(-1) for p in self.parameters]
        return np.concatenate(flat)

    def split(self, vector: Vector) -> dict[str, NDArray[np.float32]]:
        """Cut `vector` (length `size`) into named tensors; they are views, not copies."""
        if vector.shape != (self.size,):
            raise ValueError(f"vector of shape {vector.shape}, layout needs ({self.size},)")
        tensors: dict[str, NDArray[np.float32]] = {}
        start = 0
        for parameter in self.parameters:
            tensors[parameter.name] = vector[start : start + parameter.size].reshape(
                parameter.shape
            )
            start += parameter.size
        return tensors


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stands in its update: what a decoder knows besides the payload's own bytes."""

    dimension: int
    """Coordinates in the whole vector."""
    index: int
    """This chunk's number, 0 up to `count - 1`."""
    count: int
    """Chunks in the update."""
    seed: int
    """The update's seed, from the frame header; chunk seeds are derived from it and `index`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Coordinates:
    """A regular set of coordinates: runs of `run` neighbours, each run `step` after the last.

    A contiguous span is one run. Chunks that deal blocks round-robin are many. The last run may be
    shorter. Checked when made, so that whoever holds one may index with it.
    """

    first: int
    run: int
    step: int
    size: int

    def __post_init__(self) -> None:
        if self.first < 0 or self.run < 1 or self.step < self.run or self.size < 0:
            raise ValueError(f"not a set of coordinates: {self}")

    @classmethod
    def span(cls, first: int, size: int) -> "Coordinates":
        """The `size` neighbours from `first` on."""
        return cls(first=first, run=max(size, 1), step=max(size, 1), size=size)

    @property
    def end(self) -> int:
        """One past the last coordinate."""
        if self.size == 0:
            return self.first
        full, rest = divmod(self.size, self.run)
        last = full if rest else full - 1
        return self.first + last * self.step + (rest or self.run)

    def add(self, values: NDArray[np.floating], onto: NDArray[np.floating]) -> None:
        """`onto[these] += values`, in place; `values` has length `size`, `onto` at least `end`."""
        runs, tail = self._views(onto)
        runs += values[: runs.size].reshape(runs.shape)
        tail += values[runs.size :]

    def put(self, values: NDArray[np.floating], into: NDArray[np.floating]) -> None:
        """`into[these] = values`, in place; `values` has length `size`, `into` at least `end`."""
        runs, tail = self._views(into)
        runs[...] = values[: runs.size].reshape(runs.shape)
        tail[...] = values[runs.size :]

    def take(self, vector: NDArray[np.float32]) -> Vector:
        """Copy of `vector[these]`, length `size`."""
        runs, tail = self._views(vector)
        return np.concatenate([runs.reshape(-1), tail]).astype(np.float32, copy=False)

    def _views(self, array: NDArray[F]) -> tuple[NDArray[F], NDArray[F]]:
        """Writable views of the full runs, shape (n, run), and of the short last run."""
        if array.ndim != 1 or len(array) < self.end:
            raise ValueError(f"array of shape {array.shape} does not reach coordinate {self.end}")
        full, rest = divmod(self.size, self.run)
        item = array.strides[0]
        runs = np.lib.stride_tricks.as_strided(
            array[self.first :], shape=(full, self.run), strides=(self.step * item, item)
        )
        start = self.first + full * self.step
        return runs, array[start : start + rest]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk decodes to: float32 values at some coordinates of the whole vector."""

    where: Coordinates
    values: Vector


# ------------------------------------------------------------------ what a device reports


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Reading:
    """One look at the hardware. Counters are cumulative: only differences mean anything."""

    at_s: Seconds
    """Monotonic clock of this process, seconds."""
    cpu_s: Seconds | None = None
    """CPU time of this process so far, seconds."""
    energy_j: Annotated[float, Field(ge=0)] | None = None
    """Energy drawn so far, joules."""
    sent_bytes: Count | None = None
    """HTTP body bytes sent so far."""
    received_bytes: Count | None = None
    """HTTP body bytes received so far."""
    resident_bytes: Count | None = None
    """Peak resident memory of this process so far."""
    battery: Annotated[float, Field(ge=0, le=1)] | None = None
    """Charge as a share of full."""
    temperature_c: Annotated[float, Field(ge=-100, le=250)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Cost:
    """What one phase of a round spent: the difference of two readings."""

    phase: Literal["wait", "download", "train", "encode", "upload"]
    seconds: Seconds
    cpu_s: Seconds | None = None
    energy_j: Annotated[float, Field(ge=0)] | None = None
    sent_bytes: Count | None = None
    received_bytes: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Facts:
    """What a device says of itself once, at enrolment; nothing here is trusted for decisions."""

    name: ShortText = ""
    platform: ShortText = ""
    sdk: ShortText = ""
    examples: Count | None = None


# ------------------------------------------------------------------ messages


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Enrol:
    """Ask to join: body of `POST /v1/enrol`."""

    join_token: Token
    attempt: Token | None = None
    """A secret the device draws and saves before it asks. The same attempt again gives the same
    device (with a fresh token) and uses the join token up no further, so a lost answer costs
    nothing."""
    facts: Facts = Facts()


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Enrolled:
    """The identity the server gave; the token is shown once and stored hashed."""

    device: DeviceId
    token: Token


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CheckIn:
    """Ask for work: body of `POST /v1/check-in`."""

    wait_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """The server may hold its answer this long until there is work (long poll)."""
    holds_run: RunId | None = None
    """The run of the model version held on this device, with `holds_version`."""
    holds_version: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Task:
    """What the server offers one device for one round."""

    kind: Literal["task"] = "task"
    run: RunId
    round: Annotated[int, Field(ge=1, le=2**32 - 1)]
    plan: Digest
    """SHA-256 of the plan bundle's bytes."""
    model_version: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """Train from this version of the model."""
    stage: Annotated[int, Field(ge=0, le=254)] = 0
    codecs: Annotated[tuple[CodecSpec, ...], Field(min_length=1, max_length=16)]
    """Codecs the server takes, preferred first."""
    seed: Seed
    """Seed of this device's update: rotation signs and batch order derive from it."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    deadline_s: Seconds
    """Seconds from this answer until the round may close."""
    chunk_bytes: Annotated[int, Field(ge=512, le=2**24)] = 65536
    """Largest frame the device should cut its update into."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Wait:
    """No work now: sleep, do not poll."""

    kind: Literal["wait"] = "wait"
    retry_after_s: Seconds
    why: ShortText = ""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Finished:
    """The run is over; there will be no more tasks of it."""

    kind: Literal["finished"] = "finished"
    run: RunId
    model_version: Count


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Receipt:
    """Proof that an update counts; the same question later gets the same answer."""

    run: RunId
    round: Count
    chunks: tuple[Range, ...]
    """Chunks that were counted."""
    examples: Count
    """The weight they were counted with."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Progress:
    """What the server durably holds of this device's update in a round."""

    held: tuple[Range, ...] = ()
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Commit:
    """Close an update: body of `POST …/commit`. Idempotent by (run, round, device)."""

    chunks: Annotated[int, Field(ge=1, le=65535)]
    """Chunks in the whole update."""
    examples: Annotated[int, Field(ge=1, le=2**32 - 1)]
    steps: Count = 0
    loss: float | None = None
    """Mean training loss of the last epoch."""
    codec: CodecSpec
    why: ShortText = ""
    """The policy's sentence for its choice."""
    costs: Annotated[tuple[Cost, ...], Field(max_length=16)] = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Decline:
    """Give a place in a round back: body of `POST …/decline`, answered by `Wait`. Idempotent.

    Sent when the device will not deliver: the policy sits out, the data does not fit the plan, this
    machine cannot train it, or training diverged. Nobody then waits for it until the deadline, and
    it gets no place in the same round again.
    """

    why: ShortText


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Refusal:
    """The one shape of every refusal; `reason` is one of `errors.Reason`."""

    reason: ShortText
    detail: Annotated[str, StringConstraints(max_length=2000)] = ""
    retry_after_s: Seconds | None = None


# ------------------------------------------------------------------ decisions and results


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Choice:
    """What a policy decided for one task; `why` is a sentence for people."""

    takes_part: bool
    stage: Annotated[int, Field(ge=0, le=254)] = 0
    codec: CodecSpec = "float32"
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    why: ShortText


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TrainSettings:
    """How to train once: everything an engine needs besides weights and data."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    seed: Seed = 0
    """Order of the examples; the same seed and threads give the same weights."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of local training."""

    weights: Vector
    """New flat weights, layout order."""
    examples: int
    """Distinct examples trained on."""
    steps: int
    loss: float | None
    """Mean loss per example over the last epoch; None when no step ran."""
    stopped: bool = False
    """True when `keep_going` ended it early."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Evaluation:
    """Quality of a model on some examples."""

    examples: Count
    loss: float
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of examples classified correctly; None where the task has no classes."""


# ------------------------------------------------------------------ what an operator sees


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RoundSummary:
    """One round as the operator sees it, open or over."""

    round: Count
    state: Literal["open", "closing", "published", "abandoned"]
    model_version: Count
    """Version the round trains from; a published round made `model_version + 1`."""
    admitted: Count
    """Devices that hold a place."""
    committed: Count
    """Devices whose update is complete and counted."""
    partial: Count
    """Devices whose unfinished update was counted at the deadline for the chunks that arrived."""
    examples: Count
    bytes_up: Count
    """HTTP request bodies received from devices since the round opened."""
    bytes_down: Count
    """HTTP response bodies sent to devices since the round opened."""
    seconds: Seconds
    loss: float | None = None
    """Of the version the round made, on the server's evaluation data; None without any."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RunSummary:
    """A run as the operator sees it: answer of `GET /v1/runs/{run}`."""

    run: RunId
    plan: Digest
    state: Literal["running", "finished"]
    model_version: Count
    rounds_wanted: Count
    dimension: Count
    """Trainable parameters."""
    devices: Count
    """Enrolled devices."""
    rounds: tuple[RoundSummary, ...] = ()
    """Oldest first; the last may be open."""
