"""Joules: where they come from, what method found them, and how far they may be off.

============= =========================================================== ==============
`hwmon`       power meters: INA2xx on a HAT, INA3221 of a Jetson          integrated
`pmic`        power-management chip of a Raspberry Pi 5                   integrated
`rapl`        energy counters of x86 processors                           measured
`battery`     fuel gauge while discharging                                measured, integrated
`estimate`    CPU time and a table of boards                              estimated
============= =========================================================== ==============

`probe` picks one; `figures` says what a joule carries; `integrate` turns watts into joules and
`sampler` runs it; `radio` is a model of transfers, kept apart from all of these.
"""

from edge_sdk.telemetry.energy.figures import (
    About,
    Energy,
    EnergyReader,
    EnergyReading,
    PowerSource,
    energy_between,
)
from edge_sdk.telemetry.energy.probe import Finding, open_energy, probe_energy
from edge_sdk.telemetry.energy.radio import RadioEnergy, radio_energy, radio_j_per_byte
from edge_sdk.telemetry.energy.sampler import SampledEnergy
from edge_sdk.values import LinkType

__all__ = [
    "About",
    "Energy",
    "EnergyReader",
    "EnergyReading",
    "Finding",
    "LinkType",
    "PowerSource",
    "RadioEnergy",
    "SampledEnergy",
    "energy_between",
    "open_energy",
    "probe_energy",
    "radio_energy",
    "radio_j_per_byte",
]
