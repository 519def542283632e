"""The run on huge models measures what it says, tried on a small one."""

import pytest

from benchmarks.codec_huge import measure


def test_both_parts_run_in_processes_of_their_own() -> None:
    row = measure("float32", 3_000_000)
    assert row["nmse"] == 0
    assert row["wire bits"] == pytest.approx(32, rel=0.01)
    assert float(row["encode peak"]) >= 1, "the vector"
    assert float(row["decode peak"]) >= 2, "the sum"
