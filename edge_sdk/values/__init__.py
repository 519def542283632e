"""Plain frozen data that crosses rooms.

Two kinds live here. *Messages and facts* are pydantic dataclasses: strict, frozen, unknown fields
refused, every number bounded, so that the same class checks a JSON body and a call from Python.
*Array carriers* (`Layout`, `Piece`, …) are ordinary frozen dataclasses around numpy arrays.

Rules: units are in names; `None` means "cannot tell" and is never written as zero; integers that
cross JSON or SQLite stay below 2**53; cumulative counters mean something only as differences.

What only operators and servers need is imported from `values.operating` and `values.summaries`, so
that a device does not pay for it.
"""

from edge_sdk.values.decisions import Checkpoint, Choice, Evaluation, Trained, TrainSettings
from edge_sdk.values.messages import (
    CheckIn,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Finished,
    Progress,
    Receipt,
    Refusal,
    Task,
    Wait,
)
from edge_sdk.values.reports import (
    Cost,
    DeviceReport,
    EnergyMethod,
    Facts,
    Goodput,
    LateCosts,
    LinkType,
    Outcome,
    Phase,
    Reading,
)
from edge_sdk.values.scalars import (
    MAX_COUNT,
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
from edge_sdk.values.vectors import Coordinates, Layout, Parameter, Piece, Place, Tensors, Vector

__all__ = [
    "MAX_COUNT",
    "STRICT",
    "CheckIn",
    "Checkpoint",
    "Choice",
    "CodecSpec",
    "Commit",
    "Coordinates",
    "Cost",
    "Count",
    "Decline",
    "DeviceId",
    "DeviceReport",
    "Digest",
    "EnergyMethod",
    "Enrol",
    "Enrolled",
    "Evaluation",
    "Facts",
    "Finished",
    "Goodput",
    "LateCosts",
    "Layout",
    "LinkType",
    "Memory",
    "Outcome",
    "Parameter",
    "Phase",
    "Piece",
    "Place",
    "Progress",
    "Range",
    "Reading",
    "Receipt",
    "Refusal",
    "RunId",
    "Seconds",
    "Seed",
    "ShortText",
    "Stage",
    "Task",
    "Tensors",
    "Token",
    "TrainSettings",
    "Trained",
    "Vector",
    "Wait",
    "Way",
]
