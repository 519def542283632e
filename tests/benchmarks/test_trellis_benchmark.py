"""The trellis prototype finds the best path, can be decoded, and gains what is claimed."""

import itertools

import numpy as np
import pytest

from benchmarks.trellis import (
    best_paths,
    decode,
    encode,
    from_codes,
    levels_of,
    to_codes,
    trellis_figures,
)


@pytest.mark.parametrize("bits", [1, 2])
def test_the_path_is_the_best_of_all(bits: int) -> None:
    values = np.random.default_rng(bits).standard_normal((3, 5)).astype(np.float32)
    levels = levels_of(bits)
    all_codes = np.array(list(itertools.product(range(1 << bits), repeat=5)), np.uint8)
    paths = levels[from_codes(all_codes, bits)]
    found = levels[best_paths(values, levels)]
    for row, mine in zip(values, found, strict=True):
        best = float(np.min(np.sum((paths - row) ** 2, axis=1)))
        assert float(np.sum((mine - row) ** 2)) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_as_many_bits_as_are_counted_suffice_to_decode(bits: int) -> None:
    values = np.random.default_rng(bits).standard_normal((4, 300)).astype(np.float32)
    chosen = best_paths(values, levels_of(bits))
    codes = to_codes(chosen, bits)
    assert codes.max() < 1 << bits
    assert np.array_equal(from_codes(codes, bits), chosen)


@pytest.mark.parametrize(("bits", "limit"), [(1, 0.445), (2, 0.096), (3, 0.0247)])
def test_error_is_that_of_eight_states(bits: int, limit: float) -> None:
    """Plain EDEN: .571, .133, .0358."""
    vector = np.random.default_rng(bits).standard_normal(16 * 4096).astype(np.float32)
    made = trellis_figures(vector, bits, draws=1)
    assert made["nmse"] < limit
    assert made["wire_bits"] == pytest.approx(bits, abs=0.02)


def test_the_estimate_is_unbiased_along_the_vector() -> None:
    vector = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    decoded = decode(encode(vector, 1, seed=1), seed=1)
    assert float(decoded @ vector) == pytest.approx(float(vector @ vector), rel=1e-3)
