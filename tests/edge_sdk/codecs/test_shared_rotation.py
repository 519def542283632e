"""A round under one rotation: the sum is turned back once, and its mean is exactly unbiased."""

import numpy as np
import pytest

from edge_sdk.codecs import decode_onto
from edge_sdk.codecs.dithered import Dithered
from edge_sdk.codecs.eden import Eden
from edge_sdk.codecs.shared_rotation import RotatedSum, rotation_of, with_shared_rotation
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Place, Vector

SEED = 2**53 - 7


def dithered(rate: float, seed: int = SEED) -> Dithered:
    codec = with_shared_rotation(Dithered(rate), seed)
    assert isinstance(codec, Dithered)
    return codec


def normal(size: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def test_only_codecs_that_share_a_rotation_are_changed() -> None:
    assert with_shared_rotation(Eden(1), SEED) == Eden(1)
    assert with_shared_rotation(Dithered(2.0, 5), None) == Dithered(2.0, 5)
    assert dithered(2.0).rotation == rotation_of(SEED) != rotation_of(SEED - 1)


@pytest.mark.parametrize("size", [100, 4096, 20_001])
@pytest.mark.parametrize("chunks", [(1500, 1500), (700, 65_480)], ids=["alike", "two block sizes"])
def test_the_sum_is_that_of_decoding_one_by_one_whatever_arrived(
    size: int, chunks: tuple[int, int]
) -> None:
    codec = dithered(3.0)
    total = RotatedSum(size, rotation_seed=SEED)
    onto, covered = np.zeros(size), np.zeros(size)
    for device in range(6):
        chunk_bytes = chunks[device % 2]
        payloads = codec.encode(normal(size, device), seed=device, chunk_bytes=chunk_bytes)
        for index, payload in enumerate(payloads):
            if (index + device) % 3 == 0 and len(payloads) > 1:
                continue  # lost
            place = Place(size, index, len(payloads), device)
            total.add(codec.decode_rotated(payload, place), weight=1.0 + device)
            decode_onto(codec, payload, place, onto=onto, weight=1.0 + device, covered=covered)
    ours, ours_covered = np.zeros(size), np.zeros(size)
    total.add_onto(ours, ours_covered)
    assert np.array_equal(ours_covered, covered)
    np.testing.assert_allclose(ours, onto, atol=5e-3 * float(covered.max()))


@pytest.mark.parametrize(
    "vector", [np.eye(1, 300, dtype=np.float32)[0], normal(300)], ids=["one value", "normal"]
)
def test_the_mean_is_unbiased_for_equal_devices_under_one_fixed_rotation(vector: Vector) -> None:
    """The hard case: every device the same vector, never another rotation. Only dither differs."""
    codec, devices = dithered(1.5), 200
    total = RotatedSum(len(vector), rotation_seed=SEED)
    single = 0.0
    for device in range(devices):
        (payload,) = codec.encode(vector, seed=device, chunk_bytes=65_480)
        place = Place(len(vector), 0, 1, device)
        total.add(codec.decode_rotated(payload, place), weight=1.0)
        error = codec.decode(payload, place).values - vector
        single += float(error @ error) / devices
    onto, covered = np.zeros(len(vector)), np.zeros(len(vector))
    total.add_onto(onto, covered)
    error_of_mean = float(np.sum((onto / covered - vector) ** 2))
    # Sum of about 300 squares: relative deviation sqrt(2 / 300); five of them.
    assert error_of_mean * devices / single == pytest.approx(1, abs=0.41)


def test_what_does_not_belong_to_the_round_is_refused_and_changes_nothing() -> None:
    (payload,) = dithered(2.0, 3).encode(normal(100), seed=0, chunk_bytes=1000)
    other = Dithered(1.0).decode_rotated(payload, Place(100, 0, 1, 0))
    total = RotatedSum(100, rotation_seed=SEED)
    with pytest.raises(Corrupt):
        total.add(other, 1.0)
    with pytest.raises(Corrupt):
        RotatedSum(50, rotation_seed=3).add(other, 1.0)
    with pytest.raises(Misuse):
        RotatedSum(100, rotation_seed=3).add(other, 0.0)
    assert list(total.means()) == []
