"""Joules without an instrument: CPU time and a table of what known boards draw.

    P = P_idle + (P_busy - P_idle) * u

with u the share of all cores in use. Over a phase of `wall_s` seconds, in which this process used
`cpu_s` CPU seconds on a board with `cores` cores,

    marginal = (P_busy - P_idle) * cpu_s / cores        what the work added
    gross    = marginal + P_idle * wall_s               what the board drew, had it done only this

A linear model in CPU and network load was checked on a Raspberry Pi 1 by Kaup, Gottschling and
Hausheer ("PowerPi", LCN 2014, 10.1109/LCN.2014.6925777): RMSE 3.3 % after calibrating that board.
Nothing here is calibrated, so the margins are far wider. The reader gives gross joules, to compare
with boards that have a meter at their supply.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_sdk.errors import Unavailable
from edge_sdk.telemetry.energy.figures import About, EnergyReading
from edge_sdk.telemetry.system import SystemFiles, device_model


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPower:
    """What one model of board draws."""

    model: str
    """Start of the name that the board's device tree gives."""
    cores: int
    idle_w: float
    busy_w: float
    """With every core busy."""
    uncertainty: float
    source: str


_OFFICIAL = "Raspberry Pi documentation, power supplies: idle and stress averages at 5.1 V"

POWER_TABLE = (
    BoardPower(
        model="Raspberry Pi 4 Model B",
        cores=4,
        idle_w=3.06,
        busy_w=6.12,
        uncertainty=0.35,
        source=f"{_OFFICIAL}, 0.60 and 1.20 A",
    ),
    BoardPower(
        model="Raspberry Pi 3 Model B Rev",
        cores=4,
        idle_w=1.53,
        busy_w=4.34,
        uncertainty=0.35,
        source=f"{_OFFICIAL}, 0.30 and 0.85 A",
    ),
    BoardPower(
        model="Raspberry Pi 2 Model B",
        cores=4,
        idle_w=1.12,
        busy_w=3.83,
        uncertainty=0.35,
        source=f"{_OFFICIAL}, 0.22 and 0.75 A",
    ),
    BoardPower(
        model="Raspberry Pi Zero 2 W",
        cores=4,
        idle_w=0.6,
        busy_w=2.6,
        uncertainty=0.5,
        source="idle 120 mA at 5 V (CNX Software, 2021-12-09); busy: full load is 1.4 W above a "
        "Zero W's (A. Jacobs), whose own is taken as the Zero's 0.23 A at 5.1 V",
    ),
    BoardPower(
        model="Raspberry Pi Zero W",
        cores=1,
        idle_w=0.51,
        busy_w=1.17,
        uncertainty=0.5,
        source=f"{_OFFICIAL}, 0.10 and 0.23 A, of the Zero without radio",
    ),
)
"""First match wins. Not in it: the Pi 5 (published figures disagree; it has a PMIC) and the 3B+ and
3A+ (no official idle and stress figures)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Joules of one phase, by the model."""

    marginal_j: float
    gross_j: float


def estimate_energy(board: BoardPower, *, wall_s: float, cpu_s: float) -> Estimate:
    """The model above. CPU time beyond what `cores` can give in `wall_s` counts as all cores."""
    busy_s = min(max(cpu_s, 0.0) / board.cores, max(wall_s, 0.0))
    marginal_j = (board.busy_w - board.idle_w) * busy_s
    return Estimate(marginal_j, marginal_j + board.idle_w * max(wall_s, 0.0))


class EstimatedEnergy:
    """An `EnergyReader` that measures time and computes joules.

    Args:
        board: the table's entry.
        clock: monotonic seconds.
        cpu_clock: CPU seconds of this process.
    """

    def __init__(
        self,
        board: BoardPower,
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._board = board
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._start_s = clock()
        self._start_cpu_s = cpu_clock()
        self._joules = 0.0
        self.about = About(
            source="estimate",
            method="estimated",
            scope="device",
            uncertainty=board.uncertainty,
            detail=f"CPU time times the table's power of a {board.model.removesuffix(' Rev')}",
        )

    def read(self) -> EnergyReading | None:
        """Gross joules so far."""
        now_s = self._clock()
        estimate = estimate_energy(
            self._board,
            wall_s=now_s - self._start_s,
            cpu_s=self._cpu_clock() - self._start_cpu_s,
        )
        self._joules = max(self._joules, estimate.gross_j)
        return EnergyReading(at_s=now_s, joules=self._joules, about=self.about)

    def close(self) -> None:
        """Nothing runs for it."""


def open_estimate(
    files: SystemFiles,
    *,
    clock: Callable[[], float] = time.monotonic,
    cpu_clock: Callable[[], float] = time.process_time,
) -> EstimatedEnergy:
    """The model for this board.

    Raises:
        Unavailable: the board is unknown or not in the table.
    """
    model = device_model(files)
    if model is None:
        raise Unavailable("this machine does not tell its model, so its power cannot be estimated")
    for board in POWER_TABLE:
        if model.startswith(board.model):
            return EstimatedEnergy(board, clock=clock, cpu_clock=cpu_clock)
    raise Unavailable(
        f"no power figures for {model!r}; measured ones are welcome in docs/energy.md"
    )
