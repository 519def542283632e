"""The overhead benchmark counts what it says, once."""

import time
from pathlib import Path

from benchmarks.telemetry_overhead import LOOKING, Stopwatch, demonstration, measure


def busy(seconds: float) -> None:
    end_s = time.thread_time() + seconds
    while time.thread_time() < end_s:
        pass


def test_of_nested_calls_no_time_counts_twice() -> None:
    watch = Stopwatch()
    inner = watch.timed(LOOKING, lambda: busy(0.02))

    def both() -> None:
        inner()
        busy(0.01)

    start_s = time.thread_time()
    watch.timed("deciding and books", both)()
    whole_s = time.thread_time() - start_s
    assert watch.spent[LOOKING] >= 0.02
    assert watch.spent["deciding and books"] >= 0.01
    assert sum(watch.spent.values()) <= whole_s


def test_a_real_round_is_measured(tmp_path: Path) -> None:
    found = measure("nothing", tmp_path, demonstration(), rounds=1)
    assert found.round_s > found.looking_s > 0
    assert found.deciding_s > 0
    assert 0 < found.looking_share < found.whole_share < 1
