"""Bounded numbers and texts that messages are made of."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

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

Stage = Annotated[int, Field(ge=0, le=254)]
"""A plan's stage: 0 is the smallest, `plan.stages - 1` the whole model."""
Memory = Literal["none", "error-feedback", "artemis"]
Way = Literal["full", "split"]
"""Train a stage whole on the device, or the device's parts of a split with the server."""
