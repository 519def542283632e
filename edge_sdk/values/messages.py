"""What server and device say to each other."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from pydantic.dataclasses import dataclass

from edge_sdk.values.reports import Cost, DeviceReport, Facts
from edge_sdk.values.scalars import (
    STRICT,
    CodecSpec,
    Count,
    DeviceId,
    Digest,
    Memory,
    Range,
    RunId,
    Seconds,
    Seed,
    ShortText,
    Stage,
    Token,
    Way,
)
from edge_sdk.values.splitting import SplitOffer


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
    plan: Digest | None = None
    """The plan that tasks will name, so that the device can fetch it before it has a deadline; None
    where the server does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CheckIn:
    """Ask for work: body of `POST /v1/check-in`."""

    wait_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """The server may hold its answer this long until there is work (long poll)."""
    holds_run: RunId | None = None
    """The run of the model version, or of the memory, held on this device."""
    holds_version: Count | None = None
    holds_stage: Stage | None = None
    """Stage whose parameters are held; None with a held version means all of them."""
    memory_round: Count | None = None
    """Last round whose receipt moved this device's Artemis memory of `holds_run`; None: it is
    zero."""
    report: DeviceReport | None = None
    """How the device is, for the operator's table."""


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
    stage: Stage = 0
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
    cohort: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Updates the round averages: what the noise of an unbiased codec is divided by."""
    memory: Memory = "none"
    """What the device keeps of its update besides sending it (`edge_sdk.codecs.memory`)."""
    memory_speed: Annotated[float, Field(gt=0, le=1)] | None = None
    """Speed of an Artemis memory, alpha; None with other memories."""
    memory_round: Count | None = None
    """Go on from the Artemis memory that this round's receipt left; None begins at zero."""
    proximity: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """Pull towards the round's model, FedProx's mu; 0 is none."""
    least_stage: Stage | None = None
    """Smallest stage the round takes instead of `stage`; None takes `stage` alone."""
    warm_up: bool = False
    """Train the stage's warm-up graph: only what the stage added, as ProgFed begins a stage. The
    update carries that and nothing else."""
    ways: Annotated[tuple[Way, ...], Field(min_length=1, max_length=2)] = ("full",)
    """Whether the device may train whole, split with the server, or either; preferred first."""
    download_bytes: Count | None = None
    """Model bytes the device would have to fetch for `stage`, from what it said it holds; of the
    way `split` `split.download_bytes` tells."""
    stage_sizes: Annotated[tuple[Count, ...], Field(max_length=255)] = ()
    """Parameters that an update carries, for each of the plan's stages up to `stage`, the smallest
    first; empty: not told."""
    split: SplitOffer | None = None
    """What the way `split` would cost; None where it is not offered, or by older servers."""
    rotation_seed: Seed | None = None
    """Seed of the rotation that all updates of the round share, for codecs that share one."""
    report_costs: bool = True
    """Whether the commit should carry the cost ledger."""


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
