"""Look at the hardware: what this process spends, what state the machine is in, what a phase cost.

`ProcessSensor` gives readings, `cost_between` turns two of them into a `Cost`. `energy` finds
joules and says by which method; `bandwidth` predicts transfers; `machine` tells charge, heat,
memory, load and link. None is "cannot tell", never zero.
"""

from edge_sdk.telemetry.bandwidth import LinkEstimate, TcpInfo, Transfer, parse_tcp_info
from edge_sdk.telemetry.device import ProcessSensor
from edge_sdk.telemetry.energy import (
    Energy,
    EnergyReader,
    EnergyReading,
    energy_between,
    open_energy,
    probe_energy,
    radio_energy,
)
from edge_sdk.telemetry.ledger import cost_between, costs_of
from edge_sdk.telemetry.link_meter import LinkMeter
from edge_sdk.telemetry.machine import MachineReader, MachineState
from edge_sdk.telemetry.meter import ByteMeter

__all__ = [
    "ByteMeter",
    "Energy",
    "EnergyReader",
    "EnergyReading",
    "LinkEstimate",
    "LinkMeter",
    "MachineReader",
    "MachineState",
    "ProcessSensor",
    "TcpInfo",
    "Transfer",
    "cost_between",
    "costs_of",
    "energy_between",
    "open_energy",
    "parse_tcp_info",
    "probe_energy",
    "radio_energy",
]
