"""What the operator orders and is told."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from pydantic.dataclasses import dataclass

from edge_sdk.values.reports import DeviceReport, Phase
from edge_sdk.values.scalars import STRICT, Count, DeviceId, Seconds, ShortText, Token

Moment = Annotated[float, Field(ge=0, le=1e11)]
"""Seconds since 1970, for people; nothing is decided by it but when join tokens expire."""
TokenId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
"""The first digits of a join token's SHA-256: names it without giving it away."""

EventKind = Literal["device-joined", "round-opened", "round-closed", "commit", "refusal", "run"]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class NewToken:
    """Make a join token: body of `POST /v1/tokens`."""

    uses: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Devices it admits."""
    expires_s: Annotated[float, Field(gt=0, le=1e9)] = 7 * 86400.0
    label: ShortText = ""
    """What it is for, in the operator's words."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class MadeToken:
    """A fresh join token: shown once, stored hashed."""

    id: TokenId
    token: Token
    uses: Count
    expires_at: Moment


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class JoinToken:
    """A join token as the operator sees it later."""

    id: TokenId
    label: ShortText
    state: Literal["valid", "used-up", "expired", "revoked"]
    uses: Count
    uses_left: Count
    expires_at: Moment


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Rollback:
    """Go back to an older version: body of `POST …/rollback`."""

    version: Annotated[int, Field(ge=0, le=2**32 - 1)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Device:
    """One device as the operator sees it. None where it said nothing, or cannot tell."""

    device: DeviceId
    name: ShortText
    platform: ShortText
    sdk: ShortText
    state: Literal["active", "revoked", "forgotten"]
    enrolled_at: Moment
    seen_at: Moment | None
    """Its latest call."""
    updates: Count
    """Whole updates counted."""
    bytes_up: Count
    bytes_down: Count
    energy_j: Annotated[float, Field(ge=0)] | None
    """All it reported, joules."""
    last_round: Count | None
    """Of its latest whole update, as are the following."""
    stage: Count | None
    codec: ShortText | None
    bits: Annotated[float, Field(ge=0)] | None
    """Bits sent per trainable parameter."""
    why: ShortText | None
    """Its policy's sentence for that choice."""
    update_s: Seconds | None
    """From download to the end of the upload, by its own clock."""
    report: DeviceReport | None
    """How it was at its latest check-in: battery, link, temperature."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class PhaseCosts:
    """What one phase cost all devices of a round that reported it."""

    phase: Phase
    seconds: Seconds
    energy_j: Annotated[float, Field(ge=0)] | None
    """Sum over the devices that can tell; None when none can."""
    devices: Count
    """Devices that reported the phase."""
    metered: Count
    """Those of them that could tell the energy."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CostsOfRound:
    """What one round cost its devices."""

    round: Count
    phases: tuple[PhaseCosts, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Costs:
    """What the run cost its devices, as they reported it: answer of `GET …/costs`."""

    rounds: tuple[CostsOfRound, ...]
    """Rounds with reports, oldest first."""
    update_s_bounds: tuple[Seconds, ...]
    """Upper bounds of the classes that update times are counted in; a last one has none."""
    update_s_counts: tuple[Count, ...]
    """Updates by class: one more than bounds."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Refusals:
    """What was refused since the server started: answer of `GET /v1/refusals`."""

    reasons: dict[ShortText, Count]
    """Count by `errors.Reason`."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Event:
    """One line of `GET /v1/events`."""

    kind: EventKind
    at: Moment
    round: Count | None = None
    device: DeviceId | None = None
    text: ShortText = ""
    """For people."""
