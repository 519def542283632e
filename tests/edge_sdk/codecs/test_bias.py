"""EDEN's mean over seeds is the vector itself, also where one rotation round is not enough.

`squared_bias` estimates |mean error|**2 / |vector|**2 with its standard deviation; a test passes
when the estimate is below a bound by five deviations, so a codec with more bias than the bound
passes less than once in a million runs.
"""

import numpy as np
import pytest

from edge_sdk.codecs import Eden, decode_onto
from edge_sdk.testing.codecs import squared_bias
from edge_sdk.values import Place, Vector


def with_head(size: int, *head: float) -> Vector:
    vector = np.zeros(size, np.float32)
    vector[: len(head)] = head
    return vector


def spikes(size: int, count: int) -> Vector:
    rng = np.random.default_rng(0)
    vector = np.zeros(size, np.float32)
    vector[rng.choice(size, count, replace=False)] = rng.standard_normal(count)
    return vector


HEADS = {
    "half": (1, 0.5),
    "three": (1, 0.3, 0.2),
    "nearly-equal": (1, 0.95),
    "two-nearly-equal-pairs": (1, 1, 0.95, 0.95),
    "falling": tuple(0.7**i for i in range(10)),
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
@pytest.mark.parametrize("size", [64, 256, 1024, 4096])
def test_few_large_values_among_zeros(size: int, head: tuple[float, ...]) -> None:
    for bits in (1, 2):
        bias, deviation = squared_bias(Eden(bits), with_head(size, *head), draws=400)
        assert bias + 5 * deviation < 0.002


@pytest.mark.parametrize("bits", [1, 4])
def test_300_spikes_and_normal_values(bits: int) -> None:
    normal = np.random.default_rng(1).standard_normal(8192).astype(np.float32)
    for vector in (spikes(8192, 300), normal):
        bias, deviation = squared_bias(Eden(bits), vector, draws=100)
        assert bias + 5 * deviation < 0.002


def test_one_round_is_biased_and_the_estimate_shows_it() -> None:
    bias, deviation = squared_bias(Eden(1, rounds=1), with_head(1024, 1, 0.5), draws=100)
    assert deviation < 0.05
    assert abs(bias - 0.25) < 0.001  # a relative bias of one half


def test_without_more_rounds_small_blocks_would_be_biased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why `EXTRA_ROUNDS` is there."""
    vector = with_head(64, 1, 0.95)
    kept, _ = squared_bias(Eden(1), vector, draws=400)
    for module in ("rotation", "eden"):
        monkeypatch.setattr(f"edge_sdk.codecs.{module}.rounds_of", lambda _, rounds: rounds)
    bias, deviation = squared_bias(Eden(1), vector, draws=400)
    assert bias - 5 * deviation > 0.005
    assert kept < 0.001


@pytest.mark.parametrize("lost", [0.05, 0.2, 0.5])
def test_lost_chunks_leave_the_mean_of_what_arrived_unbiased(lost: float) -> None:
    """Dividing each coordinate by the weight that arrived needs no correction for loss."""
    rng = np.random.default_rng(2)
    vector = rng.standard_normal(20_000).astype(np.float32)
    total, covered = np.zeros(20_000), np.zeros(20_000)
    for seed in range(60):
        payloads = Eden(2).encode(vector, seed=seed, chunk_bytes=1200)
        for index, payload in enumerate(payloads):
            if rng.random() >= lost:
                place = Place(20_000, index, len(payloads), seed)
                decode_onto(Eden(2), payload, place, onto=total, weight=3.0, covered=covered)
    assert covered.min() > 0
    error = float(np.sum((total / covered - vector) ** 2) / np.sum(vector.astype(float) ** 2))
    theory = 0.1331 * float(np.mean(3.0 / covered))
    assert abs(error / theory - 1) < 0.05
