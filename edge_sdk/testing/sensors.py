"""Checks and fakes for `interfaces.Sensor`."""

from collections.abc import Sequence

from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Sensor
from edge_sdk.testing.promises import promise
from edge_sdk.values import Reading

_COUNTERS = ("cpu_s", "energy_j", "sent_bytes", "received_bytes", "resident_bytes")


def check_sensor(sensor: Sensor, *, readings: int = 20) -> None:
    """Hold `sensor` against its contract by reading it several times.

    Raises:
        AssertionError: naming the broken promise.
    """
    before: Reading | None = None
    for _ in range(readings):
        try:
            now = sensor.read()
        except Exception as error:
            raise AssertionError(f"broken promise: read() never raises, got {error!r}") from error
        promise(isinstance(now, Reading), "read() gives a Reading")
        if before is not None:
            promise(now.at_s >= before.at_s, "at_s never runs backwards")
            _check_counters(before, now)
        before = now


def _check_counters(before: Reading, now: Reading) -> None:
    for name in _COUNTERS:
        old, new = getattr(before, name), getattr(now, name)
        if old is not None and new is not None:
            promise(new >= old, f"{name} is cumulative: it never falls")


class ScriptedSensor:
    """Plays readings in order; the last one repeats. Without any, time passes 1 s a reading."""

    def __init__(self, readings: Sequence[Reading] | None = None) -> None:
        if readings is not None and not readings:
            raise Misuse("a scripted sensor needs a reading to play")
        self._readings = readings
        self._reads = 0

    def read(self) -> Reading:
        """The next reading."""
        turn, self._reads = self._reads, self._reads + 1
        if self._readings is None:
            return Reading(at_s=float(turn))
        return self._readings[min(turn, len(self._readings) - 1)]
