"""What the operating system tells about this process."""

import sys
import time

from edge_sdk.telemetry.meter import ByteMeter
from edge_sdk.values import Reading

if sys.platform != "win32":
    import resource


class ProcessSensor:
    """Clock, CPU time, peak memory and traffic of this process; an `interfaces.Sensor`.

    Args:
        meter: the counter that the transport adds to; without one the traffic is unknown.
    """

    def __init__(self, meter: ByteMeter | None = None) -> None:
        self._meter = meter

    def read(self) -> Reading:
        """A reading now; energy, battery and temperature are None until their readers exist."""
        meter = self._meter
        return Reading(
            at_s=time.monotonic(),
            cpu_s=time.process_time(),
            sent_bytes=None if meter is None else meter.sent_bytes,
            received_bytes=None if meter is None else meter.received_bytes,
            resident_bytes=peak_resident_bytes(),
        )


def peak_resident_bytes() -> int | None:
    """Most memory this process ever held at once; None where the system cannot tell."""
    if sys.platform == "win32":
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage(2) counts kilobytes on Linux and bytes on macOS.
    return peak if sys.platform == "darwin" else peak * 1024
