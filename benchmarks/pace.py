"""Times training steps in a process of its own, as many at a time as its parent asks for.

The parent writes a number on standard input; after that many steps one line of JSON comes back,
with each step's wall and CPU time. So a parent that runs two such processes can let them take
turns, and drift of a shared machine falls on both. End of input ends the training.
"""

import json
import resource
import sys
import time
from pathlib import Path


class Pace:
    """Asked before each step whether to go on; the time between two answers is one step."""

    def __init__(self) -> None:
        self._left = 0
        self._wall_s: list[float] = []
        self._cpu_s: list[float] = []
        self._began: tuple[float, float] | None = None

    def __call__(self) -> bool:
        """Go on with the next step? Waits for the parent when it has had what it asked for."""
        if self._began is not None:
            self._wall_s.append(time.perf_counter() - self._began[0])
            self._cpu_s.append(time.process_time() - self._began[1])
            self._left -= 1
        if self._left == 0 and not self._asked():
            return False
        self._began = (time.perf_counter(), time.process_time())
        return True

    def _asked(self) -> bool:
        """Report what was timed, then read how many steps are wanted next."""
        if self._wall_s:
            _say({"wall_s": self._wall_s, "cpu_s": self._cpu_s, "peak_rss_mb": peak_rss_mb()})
            self._wall_s, self._cpu_s = [], []
        self._left = int(sys.stdin.readline() or 0)
        return self._left > 0


def peak_rss_mb() -> float:
    """Peak resident memory of this process in MB (10**6 bytes).

    Linux counts into `ru_maxrss` what the parent held when it started this process, so the kernel's
    figure for this address space alone is taken where there is one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def _say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
