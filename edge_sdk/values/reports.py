"""What a device reports of itself."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.values.scalars import STRICT, Count, Seconds, ShortText


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
