"""Promises of a split: the parts together make the step of the whole model, and share nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.architectures import lenet5, resnet
from edge_sdk.authoring.cuts import find_cuts
from edge_sdk.authoring.training import forward_graph
from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan, Split, load_plan

Array = NDArray[Any]
Run = Callable[[bytes, dict[str, Array]], list[Array]]

MLP = zoo.mlp((5,), 3, hidden=(6, 4))
LENET = lenet5((1, 16, 16), 4)
RESNET = resnet((3, 8, 8), 4, blocks=(1, 1), width=4)
RATE = np.array(0.1, np.float32)


def outputs(graph: bytes, feeds: dict[str, Array], run: Run) -> dict[str, Array]:
    names = [output.name for output in onnx.load_model_from_string(graph).graph.output]
    return dict(zip(names, run(graph, feeds), strict=True))


def split_of(plan: Plan) -> Split:
    assert plan.split is not None
    return plan.split


def split_step(
    plan: Plan, tensors: dict[str, Array], x: Array, y: Array, run: Run
) -> dict[str, Array]:
    """One step of the whole model by its parts; what each hands on is all the next one sees."""
    split = split_of(plan)

    def held(part: int, *, state: bool) -> dict[str, Array]:
        kept = list(split.layout(part).parameters)
        kept += split.optimizer_state(part) if state else ()
        return {p.name: tensors[p.name] for p in kept}

    read = {plan.input.name: x}
    inputs: list[dict[str, Array]] = []
    for part in range(split.parts - 1):
        inputs.append(read)
        read = outputs(split.forward_graph(part), read | held(part, state=False), run)
        assert list(read) == [split.cuts[part].name]
        assert read[split.cuts[part].name].shape[1:] == split.cuts[part].shape
    last = split.parts - 1
    fed = read | held(last, state=True) | {plan.target.name: y, "lr": RATE}
    made = outputs(split.step_graph(), fed, run)
    for part in reversed(range(last)):
        back = f"{split.cuts[part].name}.cotangent"
        fed = inputs[part] | held(part, state=True) | {back: made.pop(back), "lr": RATE}
        made |= outputs(split.backward_graph(part), fed, run)
    return made


def draw(plan: Plan, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4, *plan.input.shape)).astype(np.float32)
    return x, rng.integers(0, plan.classes or 2, 4)


@pytest.mark.parametrize(
    ("model", "cuts"),
    [(MLP, 1), (LENET, 1), (RESNET, 1), (MLP, 2), (LENET, 2)],
    ids=["mlp", "lenet", "resnet", "mlp-targets-stay", "lenet-targets-stay"],
)
def test_split_training_is_training(model: Any, cuts: int, run: Run) -> None:
    found = find_cuts(forward_graph(model), for_split=True)
    cut = [found[0].name, found[-1].name][:cuts]
    plan = build_plan(model, loss="cross-entropy", name="n", cut=cut)
    whole = dict(plan.layout().split(plan.initial_weights()))
    whole |= {p.name: np.zeros(p.shape, np.float32) for p in plan.optimizer_state()}
    parts = dict(whole)
    for step in range(3):
        x, y = draw(plan, step)
        fed = whole | {plan.input.name: x, plan.target.name: y, "lr": RATE}
        one = outputs(plan.train_graph(), fed, run)
        many = split_step(plan, parts, x, y, run)
        np.testing.assert_allclose(many.pop("loss"), one.pop("loss"), rtol=1e-5)
        assert many.keys() == one.keys()
        whole = {name.removesuffix(".new"): array for name, array in one.items()}
        parts = {name.removesuffix(".new"): array for name, array in many.items()}
    for name, array in whole.items():
        np.testing.assert_allclose(parts[name], array, rtol=1e-4, atol=1e-6)


def test_dropout_draws_the_same_mask_forwards_and_backwards(run: Run) -> None:
    """The loss is linear in a weight of the first part, so both passes must agree on the mask."""
    body = """drop (float[N,40] x) => (float[N,2] y) {
        scaled = Mul(x, w)
        dropped = Dropout(scaled)
        y = MatMul(dropped, v)
    }"""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> {body}')
    rng = np.random.default_rng(0)
    for name, shape in (("w", (40,)), ("v", (40, 2))):
        array = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    plan = build_plan(model, loss="cross-entropy", name="n", cut="dropped", momentum=0)
    split = split_of(plan)
    x = np.ones((1, 40), np.float32)
    seed = np.array(7, np.int64)
    weight = plan.layout().split(plan.initial_weights())["w"]
    fed: dict[str, Array] = {plan.input.name: x, "seed": seed, "w": weight}
    handed = outputs(split.forward_graph(0), fed, run)["dropped"]
    fed |= {"dropped.cotangent": np.ones((1, 40), np.float32), "lr": np.array(1, np.float32)}
    moved = weight - outputs(split.backward_graph(0), fed, run)["w.new"]
    assert 0 < np.count_nonzero(handed) < 40
    np.testing.assert_array_equal(moved != 0, handed[0] != 0)


def test_parts_share_no_parameter_and_leave_none_out() -> None:
    plan = build_plan(LENET, loss="cross-entropy", name="n", cut="auto", stages=2)
    split = split_of(plan)
    owned = [p for part in range(split.parts) for p in split.layout(part).parameters]
    assert owned == list(plan.layout(1).parameters)
    assert split.layout(0).size <= plan.layout(1).size / 4


def test_a_plan_without_a_split_has_none() -> None:
    assert build_plan(MLP, loss="cross-entropy", name="n").split is None


def test_graphs_that_are_not_there_are_misuse() -> None:
    split = split_of(build_plan(MLP, loss="cross-entropy", name="n", cut="auto"))
    for wrong in (lambda: split.forward_graph(1), lambda: split.layout(2)):
        with pytest.raises(Misuse):
            wrong()


def test_the_bytes_are_deterministic_and_load_again() -> None:
    first, second = (
        build_plan(RESNET, loss="cross-entropy", name="n", cut="auto", stages="auto")
        for _ in range(2)
    )
    assert first.data == second.data
    assert split_of(load_plan(first.data)).cuts == split_of(second).cuts


def test_the_batch_size_crosses_a_cut_without_the_input(run: Run) -> None:
    """`x.view(x.size(0), -1)` after the cut asks the input for its size."""
    body = """view (float[N,2,3] x) => (float[N,4] y) {
        scaled = Mul(x, w)
        s = Shape(x)
        zero = Constant<value = int64 {0}>()
        n = Gather(s, zero)
        axis = Constant<value_ints = [0]>()
        n1 = Unsqueeze(n, axis)
        rest = Constant<value_ints = [6]>()
        wanted = Concat<axis = 0>(n1, rest)
        bent = Tanh(scaled)
        flat = Reshape(bent, wanted)
        y = MatMul(flat, v)
    }"""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> {body}')
    rng = np.random.default_rng(0)
    for name, shape in (("w", (2, 3)), ("v", (6, 4))):
        array = rng.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    plan = build_plan(model, loss="cross-entropy", name="n", cut="bent")
    assert split_of(plan).cuts[0].name == "bent"
    tensors = dict(plan.layout().split(plan.initial_weights()))
    tensors |= {p.name: np.zeros(p.shape, np.float32) for p in plan.optimizer_state()}
    x, y = draw(plan, 0)
    made = split_step(plan, tensors, x, y, run)
    fed = tensors | {plan.input.name: x, plan.target.name: y, "lr": RATE}
    one = outputs(plan.train_graph(), fed, run)
    for name, array in one.items():
        np.testing.assert_allclose(made[name], array, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("cut", "text"), [("nowhere", "it can at"), (["a", "b", "c"], "one or two")]
)
def test_wrong_cuts_are_misuse(cut: Any, text: str) -> None:
    with pytest.raises(Misuse, match=text):
        build_plan(MLP, loss="cross-entropy", name="n", cut=cut)


def test_cuts_in_the_wrong_order_are_misuse() -> None:
    found = find_cuts(forward_graph(MLP), for_split=True)
    with pytest.raises(Misuse, match="does not stand behind"):
        build_plan(MLP, loss="cross-entropy", name="n", cut=[found[-1].name, found[0].name])
