"""What an operator sees."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.values.scalars import STRICT, Count, Digest, RunId, Seconds, Stage


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
    stage: Stage = 0
    """The round's own; devices may have trained smaller ones."""
    warm_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class RunSummary:
    """A run as the operator sees it: answer of `GET /v1/runs/{run}`."""

    run: RunId
    plan: Digest
    state: Literal["running", "paused", "stopped", "finished"]
    """Paused: nobody gets new work. Stopped: for good, before all wanted versions were made."""
    model_version: Count
    rounds_wanted: Count
    dimension: Count
    """Trainable parameters."""
    devices: Count
    """Enrolled devices."""
    rounds: tuple[RoundSummary, ...] = ()
    """Oldest first; the last may be open."""
