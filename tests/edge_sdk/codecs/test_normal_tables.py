"""The stored quantizers are what the repo's own script computes, and are optimal."""

import math
from pathlib import Path

import numpy as np
import pytest

import edge_sdk.wire
from edge_sdk.codecs.normal import LEVELS, THRESHOLDS, UNITS_PER_SIGMA
from scripts.make_normal_tables import distortion, lloyd_max, tables

FORMAT = (Path(edge_sdk.wire.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")

PUBLISHED = {
    1: 0.363380,
    2: 0.117482,
    3: 0.034548,
    4: 0.009501,
    5: 0.0025047,
    6: 0.00064424,
    7: 0.00016348,
    8: 0.000041185,
}
"""Known distortions of the optimal quantizers of N(0, 1)."""

BITS = range(1, 9)


@pytest.mark.parametrize("bits", BITS)
def test_stored_tables_are_what_the_script_makes(bits: int) -> None:
    assert (LEVELS[bits], THRESHOLDS[bits]) == tables(bits)


@pytest.mark.parametrize("bits", BITS)
def test_distortion_is_the_published_one(bits: int) -> None:
    assert math.isclose(distortion(lloyd_max(bits)), PUBLISHED[bits], rel_tol=2e-4)


@pytest.mark.parametrize("bits", BITS)
def test_rounding_the_table_to_whole_numbers_costs_less_than_a_thousandth(bits: int) -> None:
    z = np.linspace(0, 8, 400_001) + 1e-5
    weight = np.exp(-z * z / 2)
    marks = np.array(THRESHOLDS[bits]) / UNITS_PER_SIGMA
    levels = np.array(LEVELS[bits]) / UNITS_PER_SIGMA
    error = (z - levels[np.searchsorted(marks, z)]) ** 2
    assert float((error * weight).sum() / weight.sum()) < PUBLISHED[bits] * 1.001


@pytest.mark.parametrize("bits", range(1, 5))
def test_the_format_lists_the_same_levels(bits: int) -> None:
    start = f"| {bits} | {LEVELS[bits][0]}"
    row = next(line for line in FORMAT.splitlines() if line.startswith(start))
    assert tuple(map(int, row.split("|")[2].split(","))) == LEVELS[bits]
