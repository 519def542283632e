import dataclasses

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import parser

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.engines.schedule import epoch_seed
from edge_sdk.engines.select import select_engine
from edge_sdk.errors import Corrupt, Malformed, Misuse, Unavailable
from edge_sdk.plan import Plan, StageParts, TensorSpec, load_plan, pack_plan
from edge_sdk.testing import check_engine
from edge_sdk.values import Parameter, TrainSettings

# Softmax regression from 6 inputs to 3 classes, SGD with momentum 0.5, written out by hand.
TRAIN = """
<ir_version: 9, opset_import: ["" : 20]>
train (float[batch, 6] input, int64[batch] target, float lr,
       float[6, 3] w, float[3] b, float[6, 3] w.momentum, float[3] b.momentum)
    => (float loss, float[6, 3] w.new, float[3] b.new,
        float[6, 3] w.momentum.new, float[3] b.momentum.new)
<float half = {0.5}, float one = {1.0}, int64[3] classes = {0, 1, 2}, int64[1] last = {1},
 int64[1] first = {0}>
{
    xw = MatMul(input, w)
    logits = Add(xw, b)
    lp = LogSoftmax<axis = 1>(logits)
    column = Unsqueeze(target, last)
    hit = Equal(column, classes)
    onehot = Cast<to = 1>(hit)
    picked = Mul(lp, onehot)
    per_example = ReduceSum<keepdims = 0>(picked, last)
    mean = ReduceMean<keepdims = 0>(per_example)
    loss = Neg(mean)
    p = Exp(lp)
    d = Sub(p, onehot)
    shape = Shape<start = 0, end = 1>(input)
    nf = Cast<to = 1>(shape)
    g = Div(d, nf)
    xt = Transpose<perm = [1, 0]>(input)
    gw = MatMul(xt, g)
    gb = ReduceSum<keepdims = 0>(g, first)
    mw = Mul(w.momentum, half)
    w.momentum.new = Add(mw, gw)
    mb = Mul(b.momentum, half)
    b.momentum.new = Add(mb, gb)
    sw = Mul(lr, w.momentum.new)
    w.new = Sub(w, sw)
    sb = Mul(lr, b.momentum.new)
    b.new = Sub(b, sb)
}
"""

EVALUATE = """
<ir_version: 9, opset_import: ["" : 20]>
evaluate (float[batch, 6] input, int64[batch] target, float[6, 3] w, float[3] b)
    => (float loss, int64 correct)
<int64[3] classes = {0, 1, 2}, int64[1] last = {1}>
{
    xw = MatMul(input, w)
    logits = Add(xw, b)
    lp = LogSoftmax<axis = 1>(logits)
    column = Unsqueeze(target, last)
    hit = Equal(column, classes)
    onehot = Cast<to = 1>(hit)
    picked = Mul(lp, onehot)
    per_example = ReduceSum<keepdims = 0>(picked, last)
    mean = ReduceMean<keepdims = 0>(per_example)
    loss = Neg(mean)
    guess = ArgMax<axis = 1, keepdims = 0>(logits)
    right = Equal(guess, target)
    ones = Cast<to = 7>(right)
    correct = ReduceSum<keepdims = 0>(ones)
}
"""

WEIGHTS = np.linspace(-0.2, 0.2, 21).astype(np.float32)
SETTINGS = TrainSettings(epochs=3, batch_size=16, learning_rate=0.2, seed=5)


def graph(text: str) -> bytes:
    # The text format allows no dots in names.
    for name in ("w.momentum.new", "b.momentum.new", "w.momentum", "b.momentum", "w.new", "b.new"):
        text = text.replace(name, name.replace(".", "_DOT_"))
    model: bytes = parser.parse_model(text).SerializeToString()
    return rename(model)


def rename(model: bytes) -> bytes:
    loaded = onnx.load_from_string(model)
    for node in loaded.graph.node:
        node.input[:] = [name.replace("_DOT_", ".") for name in node.input]
        node.output[:] = [name.replace("_DOT_", ".") for name in node.output]
    for value in [*loaded.graph.input, *loaded.graph.output]:
        value.name = value.name.replace("_DOT_", ".")
    renamed: bytes = loaded.SerializeToString()
    return renamed


def plan(train: bytes | None = None, evaluate: bytes | None = None) -> Plan:
    w, b = Parameter("w", (6, 3)), Parameter("b", (3,))
    return load_plan(
        pack_plan(
            name="softmax regression",
            loss="cross-entropy",
            optimizer="sgd:momentum=0.5",
            classes=3,
            input_spec=TensorSpec(name="input", dtype="float32", shape=(6,)),
            target_spec=TensorSpec(name="target", dtype="int64", shape=()),
            parameters=(w, b),
            weights=WEIGHTS,
            stages=(
                StageParts(
                    name="all",
                    parameters=(0, 1),
                    state=(Parameter("w.momentum", (6, 3)), Parameter("b.momentum", (3,))),
                    train=graph(TRAIN) if train is None else train,
                    evaluate=graph(EVALUATE) if evaluate is None else evaluate,
                ),
            ),
        )
    )


@pytest.fixture(scope="module")
def ready() -> Plan:
    return plan()


@pytest.fixture(scope="module")
def data() -> ArrayDataset:
    draw = np.random.Generator(np.random.PCG64(1))
    x = draw.normal(size=(50, 6))
    y = np.argmax(x @ draw.normal(size=(6, 3)), axis=1).astype(np.uint8)
    return ArrayDataset(x, y, x_dtype=np.float32, y_dtype=np.int64)


def reference(data: ArrayDataset, settings: TrainSettings) -> NDArray[np.float64]:
    """The same training in float64 numpy."""
    w, b = WEIGHTS[:18].reshape(6, 3).astype(np.float64), WEIGHTS[18:].astype(np.float64)
    mw, mb = np.zeros_like(w), np.zeros_like(b)
    for epoch in range(settings.epochs):
        seed = epoch_seed(settings.seed, epoch)
        for x, y in data.batches(size=settings.batch_size, seed=seed):
            logits = x.astype(np.float64) @ w + b
            p = np.exp(logits - logits.max(1, keepdims=True))
            p /= p.sum(1, keepdims=True)
            g = (p - np.eye(3)[y.astype(int)]) / len(x)
            mw, mb = 0.5 * mw + x.T @ g, 0.5 * mb + g.sum(0)
            w, b = w - settings.learning_rate * mw, b - settings.learning_rate * mb
    return np.concatenate([w.reshape(-1), b])


def test_keeps_the_contract_of_an_engine(ready: Plan, data: ArrayDataset) -> None:
    check_engine(lambda: OnnxRuntimeEngine(ready), WEIGHTS, data, SETTINGS)


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_trains_as_the_same_formula_in_numpy_does(
    ready: Plan, data: ArrayDataset, threads: int, low_memory: bool
) -> None:
    engine = OnnxRuntimeEngine(ready, threads=threads, low_memory=low_memory)
    trained = engine.train(WEIGHTS, data, SETTINGS)
    np.testing.assert_allclose(trained.weights, reference(data, SETTINGS), rtol=1e-4, atol=1e-6)
    assert (trained.steps, trained.examples) == (12, 50)


def test_optimizer_state_starts_at_zero_each_time(ready: Plan, data: ArrayDataset) -> None:
    engine = OnnxRuntimeEngine(ready)
    first = engine.train(WEIGHTS, data, SETTINGS)
    engine.train(first.weights, data, SETTINGS)
    np.testing.assert_array_equal(engine.train(WEIGHTS, data, SETTINGS).weights, first.weights)


def test_loss_is_that_of_the_last_epoch(ready: Plan, data: ArrayDataset) -> None:
    engine = OnnxRuntimeEngine(ready)
    one_step = TrainSettings(epochs=1, batch_size=64, learning_rate=0.2, seed=5)
    before = engine.evaluate(WEIGHTS, data).loss
    assert engine.train(WEIGHTS, data, one_step).loss == pytest.approx(before, rel=1e-5)
    later = engine.train(WEIGHTS, data, SETTINGS).loss
    assert later is not None
    assert later < before


def test_evaluates_accuracy_as_numpy_does(ready: Plan, data: ArrayDataset) -> None:
    engine = select_engine(ready)
    ((x, y),) = data.batches(size=50, seed=None)
    guess = np.argmax(np.asarray(x, np.float32) @ WEIGHTS[:18].reshape(6, 3) + WEIGHTS[18:], axis=1)
    assert engine.evaluate(WEIGHTS, data).accuracy == np.mean(guess == y)


def test_weights_that_are_not_contiguous_are_read_right(ready: Plan, data: ArrayDataset) -> None:
    engine = OnnxRuntimeEngine(ready)
    strided = np.repeat(WEIGHTS, 2)[::2]
    assert not strided.flags.c_contiguous
    assert engine.evaluate(strided, data) == engine.evaluate(WEIGHTS, data)
    np.testing.assert_array_equal(
        engine.train(strided, data, SETTINGS).weights, engine.train(WEIGHTS, data, SETTINGS).weights
    )


def test_a_program_that_feeds_the_wrong_thing_is_told(ready: Plan, data: ArrayDataset) -> None:
    engine = OnnxRuntimeEngine(ready)
    with pytest.raises(Misuse, match="weights"):
        engine.train(WEIGHTS[:-1], data, SETTINGS)
    with pytest.raises(Misuse, match=r"\(5,\).*\(6,\)"):
        engine.train(WEIGHTS, ArrayDataset(np.zeros((4, 5)), np.zeros(4)), SETTINGS)
    with pytest.raises(Misuse, match="threads"):
        OnnxRuntimeEngine(ready, threads=0)
    with pytest.raises(Misuse, match="stage"):
        OnnxRuntimeEngine(ready, stage=1)


@pytest.mark.parametrize(
    ("train", "error"),
    [
        (b"not a graph", Malformed),
        (b"", Malformed),
        (graph(EVALUATE), Corrupt),  # well formed, other inputs
        (graph(TRAIN.replace("w.new = Sub", "w.new = Quux")), (Malformed, Unavailable)),
        (graph(TRAIN).replace(b"batch", b"betch")[:-3], Malformed),
    ],
    ids=["garbage", "empty", "another graph", "unknown operator", "cut"],
)
def test_a_bad_train_graph_is_refused(
    data: ArrayDataset, train: bytes, error: type[Exception] | tuple[type[Exception], ...]
) -> None:
    with pytest.raises(error):
        OnnxRuntimeEngine(plan(train=train)).train(WEIGHTS, data, SETTINGS)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<perm = [1, 0]>", "<perm = [0, 1]>"),
        ("b.new = Sub(b, sb)", "b.new = Concat<axis = 0>(b, sb)"),
        ("b.new = Sub(b, sb)", "b.new = ReduceSum<keepdims = 1>(b, first)"),
        ("loss = Neg(mean)", "loss = Neg(per_example)"),
    ],
    ids=["shapes clash", "output too large", "output too small", "loss is no scalar"],
)
def test_a_graph_that_fails_when_run_is_refused(data: ArrayDataset, old: str, new: str) -> None:
    broken = TRAIN.replace(old, new)
    assert broken != TRAIN
    with pytest.raises(Malformed):
        OnnxRuntimeEngine(plan(train=graph(broken))).train(WEIGHTS, data, SETTINGS)


def test_weights_that_give_no_finite_loss_are_refused(ready: Plan, data: ArrayDataset) -> None:
    with pytest.raises(Corrupt, match="finite"):
        OnnxRuntimeEngine(ready).evaluate(np.full(21, np.nan, np.float32), data)


def test_epochs_see_different_orders() -> None:
    seeds = {epoch_seed(3, epoch) for epoch in range(100)} | {epoch_seed(4, 0)}
    assert len(seeds) == 101
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_fedprox_pulls_towards_the_start_also_where_the_graph_has_no_term() -> None:
    plan = build_plan(zoo.mlp((4,), 3, hidden=(8,)), loss="cross-entropy", name="pulled")
    data = ArrayDataset(np.random.default_rng(1).standard_normal((40, 4)), np.arange(40) % 3)
    start, rate = plan.initial_weights(), 0.1
    step = TrainSettings(batch_size=40, learning_rate=rate, seed=3)
    engine = OnnxRuntimeEngine(plan)
    free = engine.train(start, data.fit(plan), step).weights
    pulled = engine.train(start, data.fit(plan), dataclasses.replace(step, proximity=2.0)).weights
    share = np.float32(rate * 2.0)
    assert np.array_equal(pulled, free - share * (free - start))
    held = engine.train(start, data.fit(plan), dataclasses.replace(step, proximity=99.0)).weights
    np.testing.assert_allclose(held, start, atol=1e-6)
