"""Error feedback and Artemis memory around any codec."""

import numpy as np
import pytest

from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.eden import Eden
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.memory import (
    artemis_speed,
    compensate,
    difference,
    left_share,
    memory_after,
    residual_after,
    squared_norm,
)
from edge_sdk.codecs.raw import Float32
from edge_sdk.codecs.sign import Sign
from edge_sdk.codecs.table import FramedCodec
from edge_sdk.codecs.topk import TopK
from edge_sdk.errors import Misuse
from edge_sdk.values import Place, Vector

BIASED: list[FramedCodec] = [TopK(0.05), Sign(), FedZip(0.2), DeadZone(0.3)]


def vector_of(seed: int, size: int = 3000) -> Vector:
    return np.random.default_rng(seed).standard_t(4, size).astype(np.float32)


def decoded(codec: FramedCodec, payloads: list[bytes], size: int, counted: list[int]) -> Vector:
    out = np.zeros(size, np.float32)
    for index in counted:
        piece = codec.decode(payloads[index], Place(size, index, len(payloads), 9))
        piece.where.put(piece.values, out)
    return out


@pytest.mark.parametrize("codec", [*BIASED, Eden(1), Float32()], ids=lambda codec: codec.spec)
def test_what_is_sent_and_what_is_left_add_up(codec: FramedCodec) -> None:
    vector = vector_of(0)
    payloads = list(codec.encode(vector, seed=9, chunk_bytes=300))
    for counted in ([], [0], [0, len(payloads) - 1], list(range(len(payloads)))):
        ranges = tuple((index, index + 1) for index in sorted(set(counted)))
        residual = residual_after(codec, vector, payloads, seed=9, counted=ranges)
        sent = decoded(codec, payloads, len(vector), sorted(set(counted)))
        np.testing.assert_allclose(residual + sent, vector, atol=1e-5)


def test_an_update_that_came_too_late_stays_whole() -> None:
    vector = vector_of(1)
    payloads = TopK(0.1).encode(vector, seed=9, chunk_bytes=500)
    assert np.array_equal(residual_after(TopK(0.1), vector, payloads, seed=9, counted=()), vector)


@pytest.mark.parametrize("codec", BIASED, ids=lambda codec: codec.spec)
def test_with_feedback_everything_arrives_in_time(codec: FramedCodec) -> None:
    """The sum of what was sent follows the sum of the updates: the residual stays bounded."""
    update, residual = vector_of(2), None
    total = np.zeros(len(update), np.float64)
    rounds = 60
    for _ in range(rounds):
        whole = compensate(update, residual)
        payloads = list(codec.encode(whole, seed=9, chunk_bytes=65536))
        ranges = ((0, len(payloads)),)
        residual = residual_after(codec, whole, payloads, seed=9, counted=ranges)
        total += decoded(codec, payloads, len(update), list(range(len(payloads))))
        assert left_share(whole, residual) < 1
    with_feedback = squared_norm(total / rounds - update) / squared_norm(update)
    payloads = list(codec.encode(update, seed=9, chunk_bytes=65536))
    once = decoded(codec, payloads, len(update), list(range(len(payloads))))
    without = squared_norm(once - update) / squared_norm(update)
    assert with_feedback < without / 5


def test_left_share_tells_a_codec_that_does_not_contract() -> None:
    whole = vector_of(3, 8192)
    payloads = Eden(1).encode(whole, seed=9, chunk_bytes=65536)
    residual = residual_after(Eden(1), whole, payloads, seed=9, counted=((0, len(payloads)),))
    assert 0.5 < left_share(whole, residual) < 0.65
    assert left_share(np.zeros(4, np.float32), np.zeros(4, np.float32)) == 0


def test_the_mean_of_artemis_memories_is_what_the_server_follows() -> None:
    codec, size, devices = Eden(2), 2000, 4
    updates = [vector_of(seed, size) for seed in range(devices)]
    memories: list[Vector | None] = [None] * devices
    followed = np.zeros(size, np.float64)
    speed = artemis_speed(0.133)
    for turn in range(25):
        for device, update in enumerate(updates):
            if (device + turn) % 2:
                continue
            gap = difference(update, memories[device])
            payloads = codec.encode(gap, seed=9, chunk_bytes=65536)
            counted = ((0, len(payloads)),)
            memories[device] = memory_after(
                codec,
                memories[device],
                payloads,
                dimension=size,
                seed=9,
                counted=counted,
                speed=speed,
            )
            sent = decoded(codec, payloads, size, list(range(len(payloads))))
            followed += speed / devices * sent
    held = [memory for memory in memories if memory is not None]
    assert len(held) == devices
    np.testing.assert_allclose(np.mean(held, axis=0), followed, atol=1e-4)
    for update, memory in zip(updates, held, strict=True):
        assert left_share(update, difference(update, memory)) < 1e-3


def test_inputs_are_not_changed() -> None:
    update, residual = vector_of(4), vector_of(5)
    copies = update.copy(), residual.copy()
    compensate(update, residual)[:] = 0
    compensate(update, None)[:] = 0
    difference(update, residual)[:] = 0
    difference(update, None)[:] = 0
    assert np.array_equal(update, copies[0])
    assert np.array_equal(residual, copies[1])


@pytest.mark.parametrize("counted", [((0, 2),), ((-1, 1),), ((0, 1), (0, 1))])
def test_ranges_that_no_receipt_can_state_are_misuse(counted: tuple[tuple[int, int], ...]) -> None:
    vector = vector_of(6, 50)
    payloads = Sign().encode(vector, seed=0, chunk_bytes=512)
    with pytest.raises(Misuse):
        residual_after(Sign(), vector, payloads, seed=0, counted=counted)


def test_a_residual_of_another_model_is_misuse() -> None:
    with pytest.raises(Misuse):
        compensate(vector_of(0, 10), vector_of(0, 11))
    with pytest.raises(Misuse):
        difference(vector_of(0, 10), vector_of(0, 11))
    for bad in (-0.1, float("nan")):
        with pytest.raises(Misuse):
            artemis_speed(bad)
