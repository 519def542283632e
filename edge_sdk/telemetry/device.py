"""What the operating system tells about this process and the machine it runs on."""

import calendar
import sys
import time
from pathlib import Path

from edge_sdk.telemetry.energy import EnergyReader, EnergyReading, open_energy
from edge_sdk.telemetry.machine import MachineReader, MachineState
from edge_sdk.telemetry.meter import ByteMeter
from edge_sdk.telemetry.system import run_command
from edge_sdk.values import Reading

if sys.platform != "win32":
    import resource


EARLIEST_NOW_S = 1_760_000_000
"""October 2025. A board without a clock of its own that says earlier has not been set."""


STATE_AGE_S = 2.0
"""How long a look at the machine's state (charge, heat, memory, load, link) is taken to hold: it
costs some thirty file reads. Clocks, joules and bytes are read every time."""


class ProcessSensor:
    """An `interfaces.Sensor` for this process and the machine it runs on.

    Clock, CPU time, peak memory and traffic are the process's; joules, charge and heat are
    the machine's.
    The best source of joules is looked for once, here. A thread runs for it only where the source
    tells watts and has to be asked again and again, and from the first reading on.

    Args:
        meter: the counter that the transport adds to; without one the traffic is unknown.
        root: where the system's files are; anything but `/` is a recorded tree.
        energy: the source of joules, instead of the best one found.
    """

    def __init__(
        self,
        meter: ByteMeter | None = None,
        *,
        root: Path = Path("/"),
        energy: EnergyReader | None = None,
    ) -> None:
        self._meter = meter
        # A recorded tree was left by another machine: this one's commands say nothing of it.
        run = run_command if root == Path("/") else None
        opened = open_energy(root, run=run or (lambda _: None)) if energy is None else energy
        self._energy = opened
        self._machine = MachineReader(root, run=run)
        self._state: MachineState | None = None
        self._state_at_s = 0.0

    def read(self) -> Reading:
        """A reading now.

        `energy_j` counts from the first reading. It is None where nothing measures or while the
        source is silent (a battery that charges).
        """
        meter = self._meter
        energy = self.energy()
        machine = self._machine_state()
        return Reading(
            at_s=time.monotonic(),
            cpu_s=time.process_time(),
            energy_j=None if energy is None else energy.joules,
            energy_method=None if energy is None else energy.about.method,
            energy_uncertainty=0.0 if energy is None else energy.about.uncertainty,
            energy_resolution_j=0.0 if energy is None else energy.resolution_j,
            energy_missed_s=0.0 if energy is None else energy.missed_s,
            energy_sampling_cpu_s=0.0 if energy is None else energy.sampling_cpu_s,
            sent_bytes=None if meter is None else meter.sent_bytes,
            received_bytes=None if meter is None else meter.received_bytes,
            resident_bytes=peak_resident_bytes(),
            battery=machine.battery,
            charging=machine.charging,
            temperature_c=machine.temperature_c,
            throttled=machine.throttled,
            free_memory_bytes=machine.free_memory_bytes,
            load=machine.load,
            link=machine.link,
            metered=machine.metered,
            local_s=local_now_s(),
        )

    def energy(self) -> EnergyReading | None:
        """Joules so far with their source, method and margin; None as in `read`."""
        return None if self._energy is None else self._energy.read()

    def _machine_state(self) -> MachineState:
        now_s = time.monotonic()
        if self._state is None or now_s - self._state_at_s >= STATE_AGE_S:
            self._state, self._state_at_s = self._machine.read(), now_s
        return self._state

    def close(self) -> None:
        """Stop the thread of the energy source, if one runs."""
        if self._energy is not None:
            self._energy.close()


def local_now_s() -> float | None:
    """Wall clock as `Reading.local_s`; None while the clock is not set."""
    now_s = time.time()
    return None if now_s < EARLIEST_NOW_S else float(calendar.timegm(time.localtime(now_s)))


def peak_resident_bytes() -> int | None:
    """Most memory this process ever held at once; None where the system cannot tell."""
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage(2) counts kilobytes on Linux and bytes on macOS.
    return peak if sys.platform == "darwin" else peak * 1024
