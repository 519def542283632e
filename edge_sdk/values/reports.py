"""What a device reports of itself."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.values.scalars import STRICT, Count, RunId, Seconds, ShortText, Stage

Phase = Literal["wait", "download", "train", "encode", "upload"]

EnergyMethod = Literal["measured", "integrated", "estimated"]
"""`measured`: a counter of energy in hardware. `integrated`: power readings added up over time.
`estimated`: a model; no instrument saw this joule."""

LinkType = Literal["ethernet", "wifi", "cellular", "other"]
"""How the default route leaves the machine."""

Joules = Annotated[float, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Margin = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Goodput:
    """What is known of a link, latency apart from rate: T(bytes) = latency_s + bytes / rate."""

    up_bytes_per_s: Rate | None = None
    down_bytes_per_s: Rate | None = None
    up_margin: Margin = 0.0
    """Largest relative error of the last predictions; a safe rate is rate / (1 + margin)."""
    down_margin: Margin = 0.0
    latency_s: Seconds = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Reading:
    """One look at the hardware. Counters are cumulative: only differences mean anything."""

    at_s: Seconds
    """Monotonic clock of this process, seconds."""
    cpu_s: Seconds | None = None
    """CPU time of this process so far, seconds."""
    energy_j: Joules | None = None
    """Energy drawn so far, joules."""
    energy_method: EnergyMethod | None = None
    """How the joules were found; None without any."""
    energy_uncertainty: Margin = 0.0
    """Half-width of the interval the true figure lies in, as a share of the joules."""
    energy_resolution_j: Joules = 0.0
    """Step of the counter: error of any difference, absolute."""
    energy_missed_s: Seconds = 0.0
    """Seconds so far for which nothing was seen; a counter."""
    energy_sampling_cpu_s: Seconds = 0.0
    """CPU seconds that looking for the joules has cost so far; a counter."""
    sent_bytes: Count | None = None
    """HTTP body bytes sent so far."""
    received_bytes: Count | None = None
    """HTTP body bytes received so far."""
    resident_bytes: Count | None = None
    """Peak resident memory of this process so far."""
    battery: Annotated[float, Field(ge=0, le=1)] | None = None
    """Charge as a share of full."""
    charging: bool | None = None
    """Whether power comes from outside; None where nothing tells."""
    temperature_c: Annotated[float, Field(ge=-100, le=250)] | None = None
    throttled: tuple[ShortText, ...] | None = None
    """Why the processor is held back now; empty when it is not."""
    free_memory_bytes: Count | None = None
    load: Annotated[float, Field(ge=0)] | None = None
    """Runnable threads of the last minute for each core."""
    link: LinkType | None = None
    metered: bool | None = None
    """Whether bytes on that link cost money or a quota."""
    local_s: Annotated[float, Field(ge=0, le=1e11)] | None = None
    """Wall clock: seconds from 1970-01-01 00:00 local time to now, local time. None when the clock
    is not set. For quotas and hours of the day only, never for durations."""
    goodput: Goodput | None = None
    """What transfers so far say of the link."""
    bytes_left: Count | None = None
    """What the owner's quota leaves for now; None without a quota."""
    joules_left: Joules | None = None
    """What the owner's quota leaves for now; None without a quota."""
    memory_limit_bytes: Count | None = None
    """Most memory this process may hold, by its owner; None without a limit."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Cost:
    """What one phase of a round spent: the difference of two readings."""

    phase: Phase
    seconds: Seconds
    cpu_s: Seconds | None = None
    energy_j: Joules | None = None
    energy_method: EnergyMethod | None = None
    energy_uncertainty_j: Joules | None = None
    """The true figure is expected within `energy_j` plus or minus this."""
    energy_missed_s: Seconds = 0.0
    """Seconds of the phase for which no joule was seen."""
    radio_j: Joules | None = None
    """What a model of the radio says its transfers took; never part of `energy_j`."""
    sent_bytes: Count | None = None
    received_bytes: Count | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class LateCosts:
    """Costs of a round that its commit could not carry."""

    run: RunId
    round: Count
    costs: Annotated[tuple[Cost, ...], Field(max_length=16)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class DeviceReport:
    """How a device is, with a check-in; what it cannot tell is None."""

    battery: Annotated[float, Field(ge=0, le=1)] | None = None
    charging: bool | None = None
    temperature_c: Annotated[float, Field(ge=-100, le=250)] | None = None
    throttled: Annotated[tuple[ShortText, ...], Field(max_length=8)] | None = None
    free_memory_bytes: Count | None = None
    load: Annotated[float, Field(ge=0)] | None = None
    link: LinkType | None = None
    metered: bool | None = None
    goodput: Goodput | None = None
    last: LateCosts | None = None
    """What the latest upload spent: its commit left before that was known."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Outcome:
    """How one task ended on this device: what a policy learns from. Not sent."""

    took_part: bool
    """False when the task was declined before training."""
    delivered: bool = False
    """Whether the update counts."""
    late: bool = False
    """Whether the round closed before the update was there."""
    stage: Stage = 0
    dimension: Count | None = None
    """Trainable parameters of that stage."""
    examples: Count = 0
    """That this device holds."""
    steps: Count = 0
    upload_bytes: Count | None = None
    """Frames of the whole update."""
    seconds: Seconds = 0.0
    """From the task's arrival to the end."""
    costs: tuple[Cost, ...] = ()
    after: Reading | None = None
    """The last look, with what is then known of the link."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Facts:
    """What a device says of itself once, at enrolment; nothing here is trusted for decisions."""

    name: ShortText = ""
    platform: ShortText = ""
    sdk: ShortText = ""
    examples: Count | None = None
