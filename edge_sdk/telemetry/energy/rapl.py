"""Energy counters of x86 processors (RAPL) through the kernel's powercap files.

`/sys/class/powercap/intel-rapl:N/energy_uj` counts microjoules and starts again at
`max_energy_range_uj`; AMD's processors appear under the same names. Packages are added up, and the
`dram` zones, which lie outside their package's counter. The other sub-zones (core, uncore) are part
of the package; `psys` covers it; `intel-rapl-mmio` is the same counter a second time: none of these
is added.

Since Linux 5.10 only root may read the counters (CVE-2020-8694: their fine steps leak secrets).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_sdk.errors import Unavailable
from edge_sdk.telemetry.energy.figures import About, EnergyReading
from edge_sdk.telemetry.system import SystemFiles

MAX_ZONE_W = 500.0
"""No package draws more. A counter may have gone round unseen when read later than its range at
this power (524 s for the usual 262 kJ)."""

_FOLDER = "sys/class/powercap"
_ABOUT = About(
    source="rapl",
    method="measured",
    scope="package",
    uncertainty=0.05,
    detail="RAPL counters of processor package and memory",
)


@dataclass(frozen=True, slots=True)
class _Zone:
    counter: str
    range_uj: int


class RaplReader:
    """An `EnergyReader` over one or more counters that wrap.

    Args:
        files: the system's files.
        zones: counter file and range, uJ, of each zone.
        clock: monotonic seconds.
    """

    about = _ABOUT

    def __init__(
        self,
        files: SystemFiles,
        zones: Sequence[_Zone],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._zones = tuple(zones)
        self._clock = clock
        self._last: tuple[int, ...] | None = None
        self._last_s = 0.0
        self._uj = 0
        self._missed_s = 0.0

    def read(self) -> EnergyReading | None:
        """Joules so far; None when a counter cannot be read now (nothing is lost by that)."""
        values = [self._files.number(zone.counter) for zone in self._zones]
        counts = tuple(value for value in values if value is not None and value >= 0)
        if len(counts) != len(self._zones):
            return None
        now_s = self._clock()
        if self._last is not None:
            self._add(counts, self._last, now_s - self._last_s)
        self._last, self._last_s = counts, now_s
        return EnergyReading(
            at_s=now_s, joules=self._uj / 1e6, missed_s=self._missed_s, about=self.about
        )

    def close(self) -> None:
        """Nothing runs for it."""

    def _add(self, counts: tuple[int, ...], last: tuple[int, ...], seconds: float) -> None:
        grown = [
            now - before if now >= before else now + zone.range_uj - before
            for zone, now, before in zip(self._zones, counts, last, strict=True)
        ]
        limit_uj = MAX_ZONE_W * 1e6 * seconds
        # A step that no package can make is a counter that was reset; one that lasted longer than
        # the shortest way round may hide a whole turn. Neither tells what was drawn.
        hidden = any(limit_uj >= zone.range_uj for zone in self._zones)
        if hidden or any(step > limit_uj for step in grown):
            self._missed_s += seconds
        else:
            self._uj += sum(grown)


def open_rapl(files: SystemFiles, *, clock: Callable[[], float] = time.monotonic) -> RaplReader:
    """The counters of this machine.

    Raises:
        Unavailable: there are none, or this user may not read them (the message has the fix).
    """
    zones = [f"{_FOLDER}/{name}" for name in files.names(_FOLDER) if _is_counted(files, name)]
    if not zones:
        raise Unavailable("no RAPL energy counter (x86 processors outside virtual machines only)")
    if any(files.denied(f"{zone}/energy_uj") for zone in zones):
        raise Unavailable(
            "RAPL counters are there but only root may read them; to allow it until the next boot: "
            "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (for ever: a udev rule or "
            "tmpfiles.d entry with the same effect; other users can then watch this machine's "
            "power closely, see CVE-2020-8694)"
        )
    reader = RaplReader(
        files,
        [_Zone(f"{zone}/energy_uj", _range_uj(files, zone)) for zone in zones],
        clock,
    )
    if reader.read() is None:
        raise Unavailable("RAPL counters are there but cannot be read")
    return reader


def _is_counted(files: SystemFiles, name: str) -> bool:
    if not name.startswith("intel-rapl:"):
        return False
    zone = files.text(f"{_FOLDER}/{name}/name") or ""
    return zone.startswith("package") or zone == "dram"


def _range_uj(files: SystemFiles, zone: str) -> int:
    """The counter's range; without one it is taken to be 32 bits of 1 uJ, the narrowest known."""
    return files.number(f"{zone}/max_energy_range_uj") or 2**32
