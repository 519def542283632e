"""Promises of `build_plan`: it trains, it is deterministic, bad models get one clear line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper, parser

from edge_sdk.authoring import build_plan, check_gradients, zoo
from edge_sdk.errors import Corrupt, Malformed, Misuse, Unsupported
from edge_sdk.plan import Plan

DIGITS = Path(__file__).parents[3] / "rpi_demo" / "digits.npz"

Array = NDArray[Any]
RNG = np.random.default_rng(0)
Run = Callable[[bytes, dict[str, Array]], list[Array]]


def model(body: str, *, opset: int = 20, **weights: Array) -> onnx.ModelProto:
    """A model from ONNX text; `weights` become initializers."""
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {body}')
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def normal(*shape: int) -> Array:
    return RNG.normal(size=shape).astype(np.float32)


LINEAR = model(
    "linear (float[N,3] x) => (float[N,2] y) { y = Gemm(x, w, b) }", w=normal(3, 2), b=normal(2)
)


TINY = zoo.cnn((1, 8, 8), 3, channels=(2, 3), width=4)


def step_feeds(plan: Plan, batch: int, *, lr: float = 0.1, seed: int = 0) -> dict[str, Array]:
    """Random data, initial weights, zero state."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, *plan.input.shape)).astype(plan.input.dtype)
    target = rng.integers(0, plan.classes or 2, (batch, *plan.target.shape))
    feeds: dict[str, Array] = {plan.input.name: x, plan.target.name: target}
    feeds[plan.target.name] = target.astype(plan.target.dtype)
    feeds |= plan.layout().split(plan.initial_weights())
    feeds |= {p.name: np.zeros(p.shape, np.float32) for p in plan.optimizer_state()}
    return feeds | {"lr": np.array(lr, np.float32)}


def without_step(plan: Plan, feeds: dict[str, Array]) -> dict[str, Array]:
    state = {p.name for p in plan.optimizer_state()} | {"lr"}
    return {name: array for name, array in feeds.items() if name not in state}


# ------------------------------------------------------------------ what a plan is


def test_a_plan_says_what_to_feed_and_what_is_trained() -> None:
    plan = build_plan(LINEAR, loss="cross-entropy", name="linear")
    assert (plan.name, plan.stages, plan.classes) == ("linear", 1, 2)
    assert (plan.input.name, plan.input.dtype, plan.input.shape) == ("x", "float32", (3,))
    assert (plan.target.name, plan.target.dtype, plan.target.shape) == ("target", "int64", ())
    assert [(p.name, p.shape) for p in plan.layout().parameters] == [("w", (3, 2)), ("b", (2,))]
    assert [p.name for p in plan.optimizer_state()] == ["w.momentum", "b.momentum"]
    assert plan.manifest.optimizer == "sgd:momentum=0.9"


def test_graphs_keep_the_conventions() -> None:
    plan = build_plan(LINEAR, loss="cross-entropy", name="linear")
    train = onnx.load_from_string(plan.train_graph()).graph
    evaluate = onnx.load_from_string(plan.evaluate_graph()).graph
    state = ["w.momentum", "b.momentum"]
    assert [i.name for i in train.input] == ["x", "target", "lr", "w", "b", *state]
    new = ["w.new", "b.new", "w.momentum.new", "b.momentum.new"]
    assert [o.name for o in train.output] == ["loss", *new]
    assert [i.name for i in evaluate.input] == ["x", "target", "w", "b"]
    assert [o.name for o in evaluate.output] == ["loss", "correct"]
    rank = {o.name: len(o.type.tensor_type.shape.dim) for o in [*train.output, *evaluate.output]}
    assert rank["loss"] == rank["correct"] == 0
    assert train.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


def test_graphs_hold_standard_operators_with_every_type_stamped() -> None:
    plan = build_plan(zoo.cnn((1, 8, 8)), loss="cross-entropy", name="cnn")
    for data in (plan.train_graph(), plan.evaluate_graph()):
        proto = onnx.load_from_string(data)
        onnx.checker.check_model(proto, full_check=True)
        assert {node.domain for node in proto.graph.node} == {""}
        typed = {v.name for v in [*proto.graph.value_info, *proto.graph.output]}
        assert typed >= {name for node in proto.graph.node for name in node.output if name}


def test_equal_arguments_give_equal_bytes() -> None:
    data = zoo.cnn((1, 8, 8), seed=3)
    assert data == zoo.cnn((1, 8, 8), seed=3)
    assert data != zoo.cnn((1, 8, 8), seed=4)
    first, second = (build_plan(data, loss="cross-entropy", name="cnn") for _ in range(2))
    assert first.data == second.data


def test_bytes_path_and_parsed_model_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(LINEAR.SerializeToString())
    before = LINEAR.SerializeToString()
    plans = [build_plan(m, loss="mse", name="n") for m in (LINEAR, before, path)]
    assert len({plan.digest for plan in plans}) == 1
    assert LINEAR.SerializeToString() == before


# ------------------------------------------------------------------ what a step does


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(
    "forward",
    [
        zoo.mlp((5,), 3, hidden=(4, 4)),
        zoo.cnn((1, 8, 8), 3, mean=0.5),
        zoo.cnn((3, 17, 16), 4, channels=(4, 6), width=5),
        zoo.lenet((1, 12, 14)),
    ],
)
def test_any_batch_size_runs(forward: bytes, batch: int, run: Run) -> None:
    plan = build_plan(forward, loss="cross-entropy", name="n")
    feeds = step_feeds(plan, batch)
    loss, *new = run(plan.train_graph(), feeds)
    measured, correct = run(plan.evaluate_graph(), without_step(plan, feeds))
    np.testing.assert_allclose(float(loss), float(measured), rtol=1e-5)
    assert 0 <= int(correct) <= batch
    weights, state = plan.layout().parameters, plan.optimizer_state()
    assert [a.shape for a in new] == [p.shape for p in (*weights, *state)]


def softmax(x: Array) -> Array:
    e = np.exp(np.asarray(x, np.float64))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def test_a_step_is_sgd_with_momentum_on_cross_entropy(run: Run) -> None:
    plan = build_plan(LINEAR, loss="cross-entropy", name="linear", momentum=0.5)
    feeds = step_feeds(plan, 6, lr=0.2)
    feeds["w.momentum"] = normal(3, 2)
    x, w, b, momentum = (np.asarray(feeds[n], np.float64) for n in ("x", "w", "b", "w.momentum"))
    onehot = np.eye(2)[np.asarray(feeds["target"], np.int64)]
    share = np.asarray(softmax(x @ w + b), np.float64)
    moved = 0.5 * momentum + x.T @ (share - onehot) / 6
    loss, new_w, new_b, new_momentum, _ = run(plan.train_graph(), feeds)
    np.testing.assert_allclose(loss, -np.mean(np.log((share * onehot).sum(axis=1))), rtol=1e-5)
    np.testing.assert_allclose(new_momentum, moved, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new_w, w - 0.2 * moved, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new_b, b - 0.2 * (share - onehot).mean(axis=0), rtol=1e-4, atol=1e-6)


def test_without_momentum_nothing_is_carried(run: Run) -> None:
    plan = build_plan(LINEAR, loss="mse", name="linear", momentum=0)
    assert plan.optimizer_state() == ()
    feeds = step_feeds(plan, 4, lr=0.1)
    x, y, w, b = (np.asarray(feeds[n], np.float64) for n in ("x", "target", "w", "b"))
    error = x @ w + b - y
    loss, new_w, _ = run(plan.train_graph(), feeds)
    np.testing.assert_allclose(loss, np.mean(error**2), rtol=1e-5)
    np.testing.assert_allclose(new_w, w - 0.1 * 2 * x.T @ error / error.size, rtol=1e-4, atol=1e-6)


def test_mse_counts_no_hits_and_takes_targets_like_the_output(run: Run) -> None:
    plan = build_plan(LINEAR, loss="mse", name="linear")
    assert (plan.classes, plan.target.dtype, plan.target.shape) == (None, "float32", (2,))
    assert len(run(plan.evaluate_graph(), without_step(plan, step_feeds(plan, 3)))) == 1


def test_correct_counts_the_hits(run: Run) -> None:
    plan = build_plan(LINEAR, loss="cross-entropy", name="linear")
    feeds = without_step(plan, step_feeds(plan, 50))
    x, w, b = (np.asarray(feeds[n], np.float64) for n in ("x", "w", "b"))
    hits = int((np.argmax(x @ w + b, axis=1) == np.asarray(feeds["target"])).sum())
    _, correct = run(plan.evaluate_graph(), feeds)
    assert (correct.dtype.name, int(correct)) == ("int64", hits)


def test_huge_scores_give_a_finite_step(run: Run) -> None:
    plan = build_plan(LINEAR, loss="cross-entropy", name="linear")
    feeds = step_feeds(plan, 4)
    feeds["x"] = np.full((4, 3), 1e6, np.float32)
    assert all(np.isfinite(np.asarray(a, np.float64)).all() for a in run(plan.train_graph(), feeds))


def test_a_final_softmax_is_looked_through(run: Run) -> None:
    w = normal(3, 2)
    plain = model("m (float[N,3] x) => (float[N,2] y) { y = MatMul(x, w) }", w=w)
    capped = model(
        "m (float[N,3] x) => (float[N,2] y) { z = MatMul(x, w) y = Softmax<axis = -1>(z) }",
        w=w,
    )
    a, b = (build_plan(m, loss="cross-entropy", name="m") for m in (plain, capped))
    feeds = step_feeds(a, 5)
    for left, right in zip(run(a.train_graph(), feeds), run(b.train_graph(), feeds), strict=True):
        np.testing.assert_array_equal(left, right)


def test_digits_are_learned(run: Run) -> None:
    """The 8x8 network on the bundled digits, centrally: few epochs, most of the accuracy."""
    with np.load(DIGITS, allow_pickle=False) as file:
        images = np.concatenate([file["x_train"], file["x_test"]])
        labels = np.concatenate([file["y_train"], file["y_test"]]).astype(np.int64)
        test = np.arange(len(images)) >= len(file["x_train"])
    x = images.reshape(-1, 1, 8, 8).astype(np.float32)
    plan = build_plan(zoo.cnn((1, 8, 8), scale=1 / 16), loss="cross-entropy", name="digits")
    assert 20_000 <= plan.layout().size <= 60_000
    feeds = step_feeds(plan, 1, lr=0.05)
    names = [o.name for o in onnx.load_from_string(plan.train_graph()).graph.output]
    step = session(plan.train_graph())
    for epoch in range(6):
        order = np.random.default_rng(epoch).permutation(np.flatnonzero(~test))
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            feeds |= {"x": x[chosen], "target": labels[chosen]}
            outputs = dict(zip(names, step(feeds), strict=True))
            feeds |= {name[:-4]: array for name, array in outputs.items() if name != "loss"}
    feeds |= {"x": x[test], "target": labels[test]}
    _, correct = run(plan.evaluate_graph(), without_step(plan, feeds))
    assert int(correct) / test.sum() >= 0.97


def session(data: bytes) -> Callable[[dict[str, Array]], list[Array]]:
    import onnxruntime as ort

    made = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return lambda feeds: [np.asarray(a) for a in made.run(None, feeds)]


# ------------------------------------------------------------------ which models are taken


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 21, onnx.defs.onnx_opset_version()])
def test_models_of_every_operator_set_from_13_on(opset: int, run: Run) -> None:
    body = """net (float[N,1,6,6] x) => (float[N,3] y) {
        c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w, b)
        r = Relu(c)
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(r)
        f = Flatten(p)
        y = Gemm<transB = 1>(f, v)
    }"""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(2, 1, 3, 3)).astype(np.float32),
        "b": rng.normal(size=2).astype(np.float32),
        "v": rng.normal(size=(3, 18)).astype(np.float32),
    }
    plan = build_plan(model(body, opset=opset, **weights), loss="cross-entropy", name="n")
    loss = run(plan.train_graph(), step_feeds(plan, 2))[0]
    same = build_plan(model(body, opset=20, **weights), loss="cross-entropy", name="n")
    np.testing.assert_array_equal(loss, run(same.train_graph(), step_feeds(same, 2))[0])


def test_shapes_that_exporters_compute_are_folded() -> None:
    """`x.view(x.size(0), -1)` arrives as Shape, Gather, Unsqueeze, Concat, Reshape."""
    body = """view (float[N,2,3] x) => (float[N,4] y) {
        s = Shape(x)
        zero = Constant<value = int64 {0}>()
        n = Gather(s, zero)
        axis = Constant<value_ints = [0]>()
        n1 = Unsqueeze(n, axis)
        rest = Constant<value_ints = [-1]>()
        target_shape = Concat<axis = 0>(n1, rest)
        flat = Reshape(x, target_shape)
        scale = Constant<value_float = 2.0>()
        two = Identity(scale)
        big = Mul(flat, two)
        y = MatMul(big, w)
    }"""
    plan = build_plan(model(body, w=normal(6, 4)), loss="mse", name="view")
    ops = [n.op_type for n in onnx.load_from_string(plan.evaluate_graph()).graph.node]
    assert "Constant" not in ops
    assert "Identity" not in ops
    assert check_gradients(model(body, w=normal(6, 4)), loss="mse").worst < 1e-6


def test_only_float_weights_with_axes_are_trained() -> None:
    body = """m (float[N,4] x) => (float[N,2] y) {
        s = Mul(x, scale)
        r = Reshape(s, shape)
        y = MatMul(r, w)
    }"""
    forward = model(
        body, w=normal(4, 2), scale=np.array(2, np.float32), shape=np.array([-1, 4], np.int64)
    )
    forward.graph.initializer.append(numpy_helper.from_array(normal(5), "unused"))
    plan = build_plan(forward, loss="mse", name="m")
    assert [p.name for p in plan.layout().parameters] == ["w"]


def test_model_functions_are_inlined() -> None:
    forward = parser.parse_model("""<ir_version: 8, opset_import: ["" : 18, "own" : 1]>
        m (float[N,4] x) => (float[N,2] y) <float[4,2] w = {1,2,3,4,5,6,7,8}> {
            y = own.dense(x, w)
        }
        <domain: "own", opset_import: ["" : 18]>
        dense (a, b) => (c) { d = MatMul(a, b) c = Tanh(d) }""")
    assert check_gradients(forward, loss="mse").worst < 1e-6


def test_names_that_the_conventions_use_are_made_room_for(run: Run) -> None:
    body = """m (float[N,3] target) => (float[N,2] loss) {
        lr = MatMul(target, correct) loss = Add(lr, b.new)
    }""".replace("b.new", "bias")
    forward = model(body, correct=normal(3, 2), bias=normal(2))
    plan = build_plan(forward, loss="cross-entropy", name="m")
    assert plan.input.name == "target_"
    assert [p.name for p in plan.layout().parameters] == ["correct_", "bias"]
    assert len(run(plan.train_graph(), step_feeds(plan, 2))) == 5


@pytest.mark.parametrize(
    ("forward", "loss"),
    [
        (zoo.mlp((2, 3), 4, hidden=(5,)), "cross-entropy"),
        (zoo.cnn((2, 8, 8), 3, channels=(3, 4), width=6), "cross-entropy"),
        (zoo.cnn((1, 16, 18), 3, channels=(3, 4), width=6), "mse"),
        (zoo.lenet((1, 12, 12), 4), "cross-entropy"),
    ],
)
def test_gradients_of_the_zoo(forward: bytes, loss: str) -> None:
    assert check_gradients(forward, loss=loss, directions=2).worst < 1e-5


def test_a_wrong_gradient_would_be_found() -> None:
    def broken(data: bytes, feeds: dict[str, Array]) -> list[Array]:
        from edge_sdk.authoring.evaluation import run_model

        loss, *gradients = run_model(data, feeds)
        return [loss, *(np.asarray(g, np.float64) * 1.01 for g in gradients)]

    assert check_gradients(LINEAR, loss="mse", run=broken).worst > 1e-3  # type: ignore[arg-type]  # a dict is a mapping


# ------------------------------------------------------------------ which are not, and why


def edited(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(LINEAR)
    change(copy)
    return copy


def weight(name: str, array: Array) -> onnx.ModelProto:
    """The linear model with one weight replaced."""

    def change(proto: onnx.ModelProto) -> None:
        at = next(i for i, t in enumerate(proto.graph.initializer) if t.name == name)
        proto.graph.initializer[at].CopyFrom(numpy_helper.from_array(array, name))

    return edited(change)


def external(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


W32, W_BAD = normal(3, 2), normal(4, 2)
LOOP = """m (float[N,3] x) => (float[N,2] y) {
    t = Constant<value = bool {1}>()
    z = If(t) <
        then_branch = a () => (float[K,2] p) { p = MatMul(x, w) },
        else_branch = b () => (float[K,2] q) { q = MatMul(x, w) }
    >
    y = Identity(z)
}"""

BAD: dict[str, tuple[onnx.ModelProto | bytes, type[Malformed], str]] = {
    "empty": (b"", Corrupt, "not a sound"),
    "garbage": (b"\xff\x00garbage" * 9, Corrupt, "not an ONNX file"),
    "cut": (zoo.mlp((3,), 2)[:-40], Corrupt, "not an ONNX file"),
    "operator unknown": (
        model("m (float[N,3] x) => (float[N,2] y) { y = Gemmm(x, w) }", w=W32), Corrupt, "Gemmm",
    ),
    "value never made": (
        model("m (float[N,3] x) => (float[N,2] y) { y = MatMul(z, w) }", w=W32), Corrupt, "z",
    ),
    "value made twice": (
        model("m (float[N,3] x) => (float[N,2] y) { y = MatMul(x, w) y = MatMul(x, w) }", w=W32),
        Corrupt, "y",
    ),
    "shapes that do not fit": (weight("w", W_BAD), Corrupt, "shapes"),
    "NaN weight": (weight("w", np.full((3, 2), np.nan, np.float32)), Corrupt, "'w'"),
    "weight of half precision": (weight("w", W32.astype(np.float16)), Malformed, "type"),
    "operator set too old": (
        model("m (float[N,3] x) => (float[N,2] y) { y = MatMul(x, w) }", opset=11, w=W32),
        Unsupported, "operator set 11",
    ),
    "operator set from the future": (
        edited(lambda m: setattr(m.opset_import[0], "version", 999)), Unsupported, "999",
    ),
    "weights elsewhere": (edited(external), Malformed, "weights|w"),
    "no batch axis": (
        model("m (float x) => (float[3,2] y) { y = Mul(w, x) }", w=W32), Unsupported, "batch",
    ),
    "fixed batch": (
        model("m (float[4,3] x) => (float[4,2] y) { c = CumSum(x, z) y = MatMul(c, w) }",
              w=W32, z=np.array(0, np.int64)), Unsupported, "dynamic batch axis",
    ),
    "another open axis": (
        model("m (float[N,T,3] x) => (float[N,T,2] y) { y = MatMul(x, w) }", w=W32),
        Unsupported, "axis 1",
    ),
    "two inputs": (
        model("m (float[N,3] x, float[N,2] z) => (float[N,2] y) { h = MatMul(x, w) y = Add(h, z) }",
              w=W32), Unsupported, "2 inputs",
    ),
    "two outputs": (
        model("m (float[N,3] x) => (float[N,2] y, float[N,2] z) { y = MatMul(x, w) z = Relu(y) }",
              w=W32), Unsupported, "2 outputs",
    ),
    "whole numbers out": (
        model("m (float[N,3] x) => (int64[N,1] y) { h = MatMul(x, w) y = ArgMax<axis = 1>(h) }",
              w=W32), Unsupported, "int64",
    ),
    "no weights": (
        model("m (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"), Unsupported, "no trainable",
    ),
    "cross-entropy of single numbers": (
        model("m (float[N,3] x) => (float[N] y) { y = MatMul(x, w) }", w=normal(3)),
        Unsupported, r"\(batch, classes\)",
    ),
    "control flow": (model(LOOP, w=W32), Unsupported, "If"),
    "operator of a runtime": (
        parser.parse_model("""<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>
            m (float[N,3] x) => (float[N,3] y) <float[3,3] w = {1,2,3,4,5,6,7,8,9}> {
                y = com.microsoft.MatMulNBits(x, w)
            }"""), Unsupported, "com.microsoft",
    ),
    "operator without a rule": (
        model("m (float[N,3,3] x) => (float[N,3] y) { h = MatMul(x, w) d = Det(h) "
              "o = Constant<value_ints = [1]>() e = Unsqueeze(d, o) y = Mul(e, v) }",
              w=normal(3, 3), v=normal(3)), Unsupported, "Det",
    ),
    "sequence": (
        model("m (float[N,3] x) => (float[N,2] y) { s = SequenceConstruct(x) "
              "z = Constant<value = int64 {0}>() h = SequenceAt(s, z) y = MatMul(h, w) }", w=W32),
        Unsupported, "'s'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_model_gets_one_line_that_names_the_cause(case: str) -> None:
    forward, error, words = BAD[case]
    with pytest.raises(error, match=words) as caught:
        build_plan(forward, loss="cross-entropy", name="bad")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_operator_without_a_rule_is_fine_where_nothing_is_trained() -> None:
    body = """m (float[N,3,3] x) => (float[N,2] y) {
        d = Det(x) o = Constant<value_ints = [1]>() e = Unsqueeze(d, o) y = MatMul(e, w)
    }"""
    assert check_gradients(model(body, w=normal(1, 2)), loss="mse").worst < 1e-6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loss": "guess"}, "cross-entropy"),
        ({"optimizer": "hope"}, "sgd"),
        ({"momentum": 1.0}, "1"),
    ],
)
def test_wrong_settings_are_misuse(changes: dict[str, object], words: str) -> None:
    arguments: dict[str, object] = {"loss": "mse", "name": "n"}
    with pytest.raises(Misuse, match=words):
        build_plan(LINEAR, **(arguments | changes))  # type: ignore[arg-type]  # arguments by name


def test_a_path_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build_plan(tmp_path / "none.onnx", loss="mse", name="n")


def test_helper_text_models_are_sound() -> None:
    """The builder of this file's models must not hide behind the checks under test."""
    onnx.checker.check_model(LINEAR, full_check=True)
    assert [node.op_type for node in LINEAR.graph.node] == ["Gemm"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(TINY) - 1), st.integers(0, 255)), max_size=3))
def test_a_damaged_model_gives_a_plan_or_malformed(changes: list[tuple[int, int]]) -> None:
    data = bytearray(TINY)
    for at, byte in changes:
        data[at] = byte
    refusal = ""
    try:
        plan = build_plan(bytes(data), loss="cross-entropy", name="tiny")
    except Malformed as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert refusal or plan.layout().size > 0
