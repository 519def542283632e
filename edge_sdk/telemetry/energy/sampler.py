"""Makes joules of watts: a slow thread around the pure integrator, whose own cost is measured.

The thread starts with the first reading, so that probing for sources costs nothing, and ends with
`close` or when its reader is collected. It holds no reference to its reader.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_sdk.telemetry.energy.figures import About, EnergyReading, PowerSource
from edge_sdk.telemetry.energy.integrate import Integral, add_sample

GAP_INTERVALS = 5
"""So many sampling intervals without a sample are a gap."""

MIN_GAP_S = 2.0
"""A busy single-core board may starve the thread this long without making its figures wrong."""


@dataclass(slots=True)
class _Shared:
    """What the thread and its reader share."""

    source: PowerSource
    clock: Callable[[], float]
    max_gap_s: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    stop: threading.Event = field(default_factory=threading.Event)
    integral: Integral = field(default_factory=Integral)
    cpu_s: float = 0.0
    child_cpu_s: float = 0.0

    def sample(self) -> None:
        """Take one sample at the time midway between asking and being answered."""
        children = _children_cpu_s()
        asked_s = self.clock()
        power_w = self.source.power_w()
        at_s = 0.5 * (asked_s + self.clock())
        children = _children_cpu_s() - children
        with self.lock:
            self.integral = add_sample(self.integral, at_s, power_w, max_gap_s=self.max_gap_s)
            self.child_cpu_s += children


class SampledEnergy:
    """An `EnergyReader` over a `PowerSource`.

    Args:
        source: gives watts.
        interval_s: seconds between samples; default what the source finds worth asking.
        clock: monotonic seconds.
        threaded: with False no thread is started and the caller takes samples with `sample`.
    """

    def __init__(
        self,
        source: PowerSource,
        *,
        interval_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        threaded: bool = True,
    ) -> None:
        self._interval_s = source.interval_s if interval_s is None else interval_s
        self._shared = _Shared(source, clock, max(MIN_GAP_S, GAP_INTERVALS * self._interval_s))
        self._threaded = threaded
        self._thread: threading.Thread | None = None
        weakref.finalize(self, self._shared.stop.set)

    @property
    def about(self) -> About:
        """The power source's own description."""
        return self._shared.source.about

    @property
    def own_cpu_s(self) -> float:
        """CPU seconds that sampling has cost so far, commands it ran included."""
        with self._shared.lock:
            return self._shared.cpu_s + self._shared.child_cpu_s

    @property
    def samples(self) -> int:
        """Usable samples so far."""
        with self._shared.lock:
            return self._shared.integral.samples

    def sample(self) -> None:
        """Take a sample now, in this thread."""
        self._shared.sample()

    def read(self) -> EnergyReading | None:
        """Joules up to the last sample; None before the first and while the source is silent.

        The first reading takes a sample itself, so that joules count from there.
        """
        if self._threaded and self._thread is None and not self._shared.stop.is_set():
            self._start()
        with self._shared.lock:
            integral = self._shared.integral
        now_s = self._shared.clock()
        if integral.last_at_s is None or now_s - integral.last_at_s > self._shared.max_gap_s:
            return None
        return EnergyReading(
            at_s=integral.last_at_s,
            joules=integral.joules,
            missed_s=integral.missed_s,
            # Each end of a phase lies up to one interval after the sample it is read from.
            resolution_j=integral.last_w * self._interval_s,
            sampling_cpu_s=self.own_cpu_s,
            about=self.about,
        )

    def close(self) -> None:
        """Stop the thread and wait for it."""
        self._shared.stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _start(self) -> None:
        self._shared.sample()
        self._thread = threading.Thread(
            target=_run, args=(self._shared, self._interval_s), name="energy-sampler", daemon=True
        )
        self._thread.start()


def _run(shared: _Shared, interval_s: float) -> None:
    while not shared.stop.wait(interval_s):
        shared.sample()
        with shared.lock:
            shared.cpu_s = time.thread_time()


def _children_cpu_s() -> float:
    """CPU seconds of ended child processes; nearly the command's own, this being its only parent.

    Another thread's child that ends within the same milliseconds is counted too: cost of sampling
    is then overstated, never understated.
    """
    times = os.times()
    return times.children_user + times.children_system
