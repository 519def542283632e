"""edge_sdk: everything a device runs, and the language it shares with the server.

The map of the house; what stands higher may use what stands lower, never the other way::

    cli          the edge-sdk command
    runtime      take part: Client, the loop, the spool that survives a power cut
    testing      check_* for every part you may replace, Scripted* fakes
    engines      train here: one file per runtime
    telemetry    look at the hardware, add up costs
    adaptation   decide: pure policies
    transport    carry: HTTP
    authoring    workstation only: ONNX model -> training plan
    datasets     a device's own examples
    protocol     the HTTP API as data
    plan         the training plan, a verified bundle
    codecs       vectors <-> payloads
    wire         payloads <-> frames, FORMAT.md
    interfaces   what you may replace
    values       plain frozen data that crosses rooms
    errors       every exception, drawn as one tree

Six lines are enough to take part::

    from edge_sdk import Client

    client = Client("https://fl.example.org", token="...", data=(x, y))
    await client.run()

Names beside the errors are loaded when first used, so importing this package is cheap.
"""

import importlib
import os
import sys
import warnings
from typing import TYPE_CHECKING

from edge_sdk.errors import EdgeError, Malformed, Misuse, Refused, Unavailable, Unreachable

if TYPE_CHECKING:
    from edge_sdk.adaptation import BudgetPolicy, Eligibility, FixedPolicy, Quotas
    from edge_sdk.datasets import ArrayDataset, load_npz
    from edge_sdk.runtime.client import Client
    from edge_sdk.telemetry import ProcessSensor
    from edge_sdk.transport.http import HttpTransport

# onnxruntime 1.29 and later reports to its makers unless this is set before its first import.
if "ORT_DISABLE_TELEMETRY" not in os.environ:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if "onnxruntime" in sys.modules:
        warnings.warn(
            "onnxruntime was imported before edge_sdk and may send telemetry from this process; "
            "import edge_sdk first, or set ORT_DISABLE_TELEMETRY=1 in the environment",
            stacklevel=2,
        )

__all__ = [
    "ArrayDataset",
    "BudgetPolicy",
    "Client",
    "EdgeError",
    "Eligibility",
    "FixedPolicy",
    "HttpTransport",
    "Malformed",
    "Misuse",
    "ProcessSensor",
    "Quotas",
    "Refused",
    "Unavailable",
    "Unreachable",
    "load_npz",
]

_HOMES = {
    "ArrayDataset": "edge_sdk.datasets",
    "BudgetPolicy": "edge_sdk.adaptation",
    "Client": "edge_sdk.runtime.client",
    "Eligibility": "edge_sdk.adaptation",
    "FixedPolicy": "edge_sdk.adaptation",
    "HttpTransport": "edge_sdk.transport.http",
    "ProcessSensor": "edge_sdk.telemetry",
    "Quotas": "edge_sdk.adaptation",
    "load_npz": "edge_sdk.datasets",
}
"""Where each lazily loaded name lives."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_sdk' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
