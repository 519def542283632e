"""Decoding onto a sum: weighted, chunk by chunk, and nothing happens when a payload is bad."""

import numpy as np
import pytest

from edge_sdk.codecs import Eden, Float32, decode_onto
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Coordinates, Place


def test_sum_and_cover_grow_by_weight_where_the_chunk_is() -> None:
    vector = np.arange(10, dtype=np.float32)
    payloads = Float32().encode(vector, seed=0, chunk_bytes=20)
    onto, covered = np.ones(10), np.zeros(10)
    where = decode_onto(
        Float32(), payloads[1], Place(10, 1, 2, 0), onto=onto, weight=2.5, covered=covered
    )
    assert where == Coordinates.span(5, 5)
    assert onto.tolist() == [1] * 5 + [1 + 2.5 * x for x in range(5, 10)]
    assert covered.tolist() == [0] * 5 + [2.5] * 5


def test_the_weighted_mean_is_that_of_the_decoded_vectors() -> None:
    rng = np.random.default_rng(0)
    onto, covered, expected = np.zeros(5000), np.zeros(5000), np.zeros(5000)
    for seed, weight in enumerate((3.0, 10.0, 0.5)):
        vector = rng.standard_normal(5000).astype(np.float32)
        payloads = Eden(2).encode(vector, seed=seed, chunk_bytes=1200)
        for index, payload in enumerate(payloads):
            place = Place(5000, index, len(payloads), seed)
            decode_onto(Eden(2), payload, place, onto=onto, weight=weight, covered=covered)
            piece = Eden(2).decode(payload, place)
            expected[piece.where.first : piece.where.end] += weight * piece.values.astype(float)
    assert np.array_equal(covered, np.full(5000, 13.5))
    assert np.array_equal(onto, expected)


def test_a_bad_payload_changes_nothing() -> None:
    onto, covered = np.zeros(10), np.zeros(10)
    with pytest.raises(Corrupt):
        decode_onto(
            Float32(), b"x" * 39, Place(10, 0, 1, 0), onto=onto, weight=1.0, covered=covered
        )
    assert not onto.any()
    assert not covered.any()


def test_a_sum_of_another_size_or_type_is_misuse() -> None:
    payload = bytes(40)
    place = Place(10, 0, 1, 0)
    with pytest.raises(Misuse):
        decode_onto(Float32(), payload, place, onto=np.zeros(11), weight=1.0)
    with pytest.raises(Misuse):
        decode_onto(Float32(), payload, place, onto=np.zeros(10), weight=1.0, covered=np.zeros(9))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_no_number_does_not_poison_the_sum(weight: float) -> None:
    onto = np.zeros(4)
    payload = np.ones(4, "<f4").tobytes()
    with pytest.raises(Misuse):
        decode_onto(Float32(), payload, Place(4, 0, 1, 0), onto=onto, weight=weight)
    assert not onto.any()
