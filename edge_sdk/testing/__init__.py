"""Checks and fakes for everything you may replace.

`check_*` hold an object of yours against its contract in `edge_sdk.interfaces` and raise
`AssertionError` naming the broken promise. `Scripted*` and `FlakyTransport` are small working
stand-ins that keep the contracts themselves.
"""

from edge_sdk.testing.clocks import ScriptedClock
from edge_sdk.testing.codecs import check_codec
from edge_sdk.testing.engines import ScriptedEngine, check_engine
from edge_sdk.testing.links import PacedTransport
from edge_sdk.testing.policies import check_policy, sample_tasks
from edge_sdk.testing.sensors import ScriptedSensor, check_sensor
from edge_sdk.testing.server import JOIN_TOKEN, ScriptedServer, scripted_plan, snapshot_frames
from edge_sdk.testing.transports import (
    Fault,
    FlakyTransport,
    check_decline,
    check_transport,
    seeded_faults,
)

__all__ = [
    "JOIN_TOKEN",
    "Fault",
    "FlakyTransport",
    "PacedTransport",
    "ScriptedClock",
    "ScriptedEngine",
    "ScriptedSensor",
    "ScriptedServer",
    "check_codec",
    "check_decline",
    "check_engine",
    "check_policy",
    "check_sensor",
    "check_transport",
    "sample_tasks",
    "scripted_plan",
    "seeded_faults",
    "snapshot_frames",
]
