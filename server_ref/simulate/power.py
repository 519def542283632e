"""What a scripted device draws: joules while it takes part, and what its battery holds. Pure.

A model, stated as such in every output: `idle_w` while awake, `busy_w` while it trains, and the
radio's joules by `edge_sdk.telemetry`'s model for its kind of link. Joules are counted while the
device is awake for the federation only (from asking for work to the receipt); asleep, it drains
its battery by `sleep_w` and counts nothing.
"""

import dataclasses
from collections.abc import Sequence
from types import MappingProxyType

from edge_sdk.telemetry.energy.radio import RADIOS
from edge_sdk.values.reports import LinkType

DAY_S = 86_400.0
PIECE_S = 900.0
"""Longest time over which a battery's gains and losses are only netted."""
BURST_GAP_S = 12.0
"""A pause longer than this between transfers lets a cellular radio fall asleep."""


@dataclasses.dataclass(frozen=True, slots=True)
class Board:
    """Watts of one kind of device."""

    idle_w: float
    busy_w: float


BOARDS = MappingProxyType(
    {
        "raspberry-pi-4": Board(3.06, 6.12),
        "raspberry-pi-3": Board(1.53, 4.34),
        "raspberry-pi-zero-2": Board(0.6, 2.6),
        "jetson": Board(5.0, 15.0),
    }
)
"""Raspberry Pi: as in `edge_sdk.telemetry`'s power table. `jetson` is a guess between the power
modes that NVIDIA names for small Orin modules (7 and 15 W): those boards measure themselves."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatterySpec:
    """A battery and when it is charged."""

    capacity_j: float
    charge: float
    """Share of full at the start."""
    charge_w: float
    windows: tuple[tuple[float, float], ...]
    """Seconds of the day, from and to, in which it is charged; the run begins at midnight."""

    def charged_s(self, from_s: float, to_s: float) -> float:
        """Seconds on the charger between two times since the start."""
        return sum(_daily(to_s, *window) - _daily(from_s, *window) for window in self.windows)

    def is_charging(self, at_s: float) -> bool:
        """Whether it is on the charger."""
        return any(start <= at_s % DAY_S < end for start, end in self.windows)


def _daily(at_s: float, start_s: float, end_s: float) -> float:
    """Seconds of the window that have passed by `at_s`."""
    days, rest = divmod(at_s, DAY_S)
    return days * (end_s - start_s) + min(max(rest - start_s, 0.0), end_s - start_s)


@dataclasses.dataclass(slots=True)
class PowerMeter:
    """Counts what one device draws; times are seconds since the start and never run backwards."""

    board: Board
    radio: LinkType
    battery: BatterySpec | None = None
    sleep_w: float = 0.0
    energy_j: float = 0.0
    """Drawn while awake for the federation."""
    radio_j: float = 0.0
    """Part of `energy_j` that the radio drew."""
    train_s: float = 0.0
    """Seconds of training so far: the device's CPU time."""
    wire_bytes: int = 0
    """Both ways, with headers and what was sent again."""
    held_j: float = 0.0
    awake: bool = False
    _seen_s: float = 0.0
    _radio_until_s: float = -1e9

    def __post_init__(self) -> None:
        if self.battery is not None:
            self.held_j = self.battery.capacity_j * self.battery.charge

    def wake(self, now_s: float) -> None:
        """Begin a turn."""
        self.settle(now_s)
        self.awake = True

    def sleep(self, now_s: float) -> None:
        """End it."""
        self.settle(now_s)
        self.awake = False

    def settle(self, now_s: float) -> None:
        """Count the time since the last call."""
        passed_s = max(0.0, now_s - self._seen_s)
        until_s = self._seen_s + passed_s
        watts = self.board.idle_w if self.awake else self.sleep_w
        while self.battery is not None and self._seen_s < until_s:
            # In pieces, so that a battery that is full for a while does not hide what it drained.
            piece_s = min(PIECE_S, until_s - self._seen_s)
            charged_s = self.battery.charged_s(self._seen_s, self._seen_s + piece_s)
            self._fill(charged_s * self.battery.charge_w - watts * piece_s)
            self._seen_s = until_s if piece_s < PIECE_S else self._seen_s + piece_s
        self._seen_s = until_s
        if self.awake:
            self.energy_j += watts * passed_s

    def trained(self, seconds: float) -> None:
        """Count seconds of training, on top of being awake."""
        self.train_s += seconds
        self._draw((self.board.busy_w - self.board.idle_w) * seconds)

    def carried(self, way: str, wire_bytes: int, *, at_s: float, seconds: float) -> None:
        """Count a burst of bytes on the radio."""
        self.wire_bytes += wire_bytes
        radio = RADIOS.get(self.radio)
        if radio is None:
            return
        per_mbit = radio.up_j_per_mbit if way == "up" else radio.down_j_per_mbit
        joules = per_mbit * wire_bytes * 8e-6 + radio.active_w * seconds
        if at_s - self._radio_until_s > BURST_GAP_S:
            joules += radio.tail_j
        self._radio_until_s = at_s + seconds
        self.radio_j += joules
        self._draw(joules)

    @property
    def charge(self) -> float | None:
        """Share of full; None without a battery."""
        return None if self.battery is None else self.held_j / self.battery.capacity_j

    @property
    def is_empty(self) -> bool:
        """Whether the device cannot run."""
        return self.battery is not None and self.held_j <= 0

    def _draw(self, joules: float) -> None:
        self.energy_j += joules
        self._fill(-joules)

    def _fill(self, joules: float) -> None:
        if self.battery is not None:
            self.held_j = min(max(self.held_j + joules, 0.0), self.battery.capacity_j)


def windows_s(hours: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Charging hours of the day as seconds; a window past midnight becomes two."""
    cut: list[tuple[float, float]] = []
    for start, end in hours:
        if start <= end:
            cut.append((start * 3600, end * 3600))
        else:
            cut += [(start * 3600, DAY_S), (0.0, end * 3600)]
    return tuple(cut)
