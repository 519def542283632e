"""Promises of the split engine: exact without quantization, safe from bad bytes."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.cuts import find_cuts
from edge_sdk.authoring.training import forward_graph
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.engines.split import SplitTerms
from edge_sdk.engines.split_device import DeviceHalf
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.engines.split_server import Progress, ServerHalf
from edge_sdk.engines.split_targets import pack_targets, unpack_targets
from edge_sdk.errors import Corrupt, Malformed, Misuse
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings, Vector
from edge_sdk.wire.batch import pack_batch, unpack_batch

Array = NDArray[Any]
MODEL = zoo.cnn((1, 16, 16), 4, channels=(4, 6), width=12)
CUTS = [cut.name for cut in find_cuts(forward_graph(MODEL), for_split=True)]
EXACT = SplitTerms(
    run="00000000000000aa",
    round=1,
    seed=5,
    learning_rate=0.05,
    activations="float32",
    gradients="float32",
    correction=0.0,
)


def plan_with(cuts: int) -> Plan:
    chosen = [CUTS[2], CUTS[-1]][:cuts]
    return build_plan(MODEL, loss="cross-entropy", name="n", cut=chosen)


class Pair:
    """Both halves in one process."""

    def __init__(self, plan: Plan, terms: SplitTerms = EXACT) -> None:
        split = plan.split
        assert split is not None
        engines = [PartEngine(plan, part) for part in range(split.parts)]
        whole = plan.layout().split(plan.initial_weights())
        starts = [split.layout(part).flatten(whole) for part in range(split.parts)]
        mine = [0] if split.parts == 2 else [0, 2]
        self.plan, self.engines = plan, engines
        self.device = DeviceHalf(plan, [engines[p] for p in mine], [starts[p] for p in mine], terms)
        self.server = ServerHalf(plan, engines[1], terms)
        self.progress = Progress(engines[1].start(starts[1]))
        self.messages: list[bytes] = []
        self.answers: list[bytes] = []

    def batch(self, x: Array, y: Array) -> None:
        message: bytes | None = self.device.begin(x, y)
        while message is not None:
            self.messages.append(message)
            self.progress, answer = self.server.take(self.progress, message)
            self.answers.append(answer)
            message = self.device.take(answer)

    def weights(self) -> Vector:
        split = self.plan.split
        assert split is not None
        parts = [self.device.weights(0), self.engines[1].weights(self.progress.state)]
        parts += [self.device.weights(1)] if split.parts == 3 else []
        tensors: dict[str, Array] = {}
        for part, vector in enumerate(parts):
            tensors |= split.layout(part).split(vector)
        return self.plan.layout().flatten(tensors)


def batches(count: int = 3, size: int = 6) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(size, 1, 16, 16)).astype(np.float32) * 80, rng.integers(0, 4, size))
        for _ in range(count)
    ]


@pytest.mark.parametrize("cuts", [1, 2], ids=["plain", "targets-stay"])
def test_without_quantization_it_is_training(cuts: int) -> None:
    plan = plan_with(cuts)
    pair = Pair(plan)
    for x, y in batches():
        pair.batch(x, y)
    settings = TrainSettings(learning_rate=EXACT.learning_rate, seed=EXACT.seed)
    alone = OnnxRuntimeEngine(plan).train(plan.initial_weights(), batches(), settings)
    np.testing.assert_allclose(pair.weights(), alone.weights, rtol=1e-5, atol=1e-6)
    assert pair.progress.loss / pair.progress.examples == pytest.approx(alone.loss, rel=1e-5)
    assert pair.progress.examples == alone.examples
    if cuts == 2:
        assert not any(unpack_batch(m).targets for m in pair.messages + pair.answers)


def test_the_correction_is_the_gradient_of_the_surrogate_loss() -> None:
    """Finite differences of h(z~) + <G, z - z~> + lambda / 2 |z - z~|^2 along the device's weights.

    z~ and G are held, as both are when the device steps; differences in float64 of float32 passes.
    """
    plan = build_plan(MODEL, loss="cross-entropy", name="n", cut=CUTS[2], momentum=0)
    correction = 0.5
    terms = dataclasses.replace(
        EXACT, activations="product:q=4,l=2", correction=correction, learning_rate=1.0
    )
    pair = Pair(plan, terms)
    ((x, y),) = batches(1)
    before = pair.device.weights()
    engine = pair.engines[0]
    pair.batch(x, y)
    step = before.astype(np.float64) - pair.device.weights()
    sent, answer = unpack_batch(pair.messages[0]), unpack_batch(pair.answers[0])
    quantized = pair.server._decode(sent).astype(np.float64)
    gradient = pair.server._decode(answer).astype(np.float64)

    def surrogate(weights: Vector) -> float:
        z = engine.forward(engine.start(weights), x, seed=5, batch=0).reshape(len(x), -1)
        error = z.astype(np.float64) - quantized
        return float((gradient * error).sum() + correction / 2 * np.square(error).sum())

    rng = np.random.default_rng(3)
    for _ in range(4):
        way = rng.normal(size=before.shape).astype(np.float32)
        eps = np.float32(1e-3 / np.linalg.norm(way))
        slope = (surrogate(before + eps * way) - surrogate(before - eps * way)) / (2 * float(eps))
        assert slope == pytest.approx(float(step @ way), rel=2e-2)


def test_quantized_training_still_learns() -> None:
    plan = plan_with(1)
    terms = dataclasses.replace(
        EXACT, activations="product:q=48,l=16", gradients="eden:bits=4", learning_rate=0.02
    )
    pair = Pair(plan, terms)
    ((x, _),) = batches(1, 16)
    y = (x.reshape(16, 2, 128).mean(axis=2) > 0) @ np.array([1, 2])
    losses = []
    for _ in range(40):
        pair.batch(x, y)
        losses.append(pair.device.loss or 0.0)
    assert losses[-1] < 0.8 * losses[0]


def test_the_same_messages_give_the_same_part_again() -> None:
    pair = Pair(plan_with(2))
    for x, y in batches():
        pair.batch(x, y)
    again = Pair(plan_with(2))
    for message, answer in zip(pair.messages, pair.answers, strict=True):
        again.progress, repeated = again.server.take(again.progress, message)
        assert repeated == answer
    np.testing.assert_array_equal(
        again.engines[1].weights(again.progress.state),
        pair.engines[1].weights(pair.progress.state),
    )


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 1},
        {"round": 2},
        {"run": "00000000000000ab"},
        {"cut": 1},
        {"codec": 3},
        {"numbers": 7},
        {"examples": 3},
        {"targets": b"\0"},
        {"targets": b"\x09" * 6},
        {"payload": b"\0\0\xc0\x7f" * 600},
        {"payload": b"\xff"},
    ],
)
def test_a_bad_message_is_malformed_and_changes_nothing(change: Any) -> None:
    pair = Pair(plan_with(1))
    ((x, y),) = batches(1)
    good = unpack_batch(pair.device.begin(x, y))
    before = pair.progress
    with pytest.raises(Malformed):
        pair.server.take(before, pack_batch(dataclasses.replace(good, **change)))
    with pytest.raises(Malformed):
        pair.server.take(before, b"nonsense")
    after, answer = pair.server.take(before, pack_batch(good))
    assert after.batches == 1
    assert pair.device.take(answer) is None


def test_activations_that_overflow_are_refused() -> None:
    pair = Pair(plan_with(1))
    ((x, y),) = batches(1)
    good = unpack_batch(pair.device.begin(x, y))
    huge = np.full(good.examples * good.numbers, 3e38, "<f4").tobytes()
    with pytest.raises(Corrupt):
        pair.server.take(pair.progress, pack_batch(dataclasses.replace(good, payload=huge)))


def test_calls_out_of_turn_are_misuse() -> None:
    pair = Pair(plan_with(1))
    ((x, y),) = batches(1)
    with pytest.raises(Misuse):
        pair.device.take(b"")
    pair.device.begin(x, y)
    with pytest.raises(Misuse):
        pair.device.begin(x, y)
    with pytest.raises(Misuse):
        PartEngine(build_plan(MODEL, loss="cross-entropy", name="n"), 0)
    with pytest.raises(Misuse):
        pair.engines[1].start(np.zeros(3, np.float32))


def test_targets_take_a_byte_each() -> None:
    plan = plan_with(1)
    y = np.array([0, 3, 1])
    assert pack_targets(y, plan) == b"\0\3\1"
    np.testing.assert_array_equal(unpack_targets(b"\0\3\1", 3, plan), y)
    assert unpack_targets(b"\0\3\1", 3, plan).dtype == plan.target.dtype
    with pytest.raises(Misuse):
        pack_targets(np.array([256]), plan)
