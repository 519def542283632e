"""Promises of recomputation: the same step to the bit, another graph, nothing merged back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan
from edge_sdk.authoring.architectures import mobilenet_v2_small, resnet, vgg9
from edge_sdk.plan import Plan

Array = NDArray[Any]

RESNET = resnet((3, 8, 8), 4, blocks=(1, 1), width=4)
MOBILENET = mobilenet_v2_small((3, 16, 16), 4)


def plan_of(model: onnx.ModelProto, *, recompute: bool, **options: Any) -> Plan:
    return build_plan(model, loss="cross-entropy", name="n", recompute=recompute, **options)


def fed(plan: Plan) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    feeds: dict[str, Array] = {
        plan.input.name: rng.normal(size=(3, *plan.input.shape)).astype(np.float32),
        plan.target.name: rng.integers(0, 4, 3),
        "lr": np.array(0.1, np.float32),
    }
    feeds |= plan.layout().split(plan.initial_weights())
    return feeds | {p.name: np.zeros(p.shape, np.float32) for p in plan.optimizer_state()}


def kinds(graph: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(graph).graph.node]


@pytest.mark.parametrize("model", [RESNET, MOBILENET], ids=["resnet", "mobilenet"])
def test_the_step_is_the_same(
    model: onnx.ModelProto, run: Callable[[bytes, dict[str, Array]], list[Array]]
) -> None:
    plain, saving = (plan_of(model, recompute=choice) for choice in (False, True))
    assert kinds(saving.train_graph()).count("Max") > kinds(plain.train_graph()).count("Max")
    assert saving.evaluate_graph() == plain.evaluate_graph()
    one, other = (run(plan.train_graph(), fed(plan)) for plan in (plain, saving))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_what_would_save_nothing_is_left_alone() -> None:
    """Without normalisation an activation's input is held by nobody else."""
    model = vgg9((3, 8, 8), 4, width=2)
    plain, saving = (plan_of(model, recompute=choice) for choice in (False, True))
    assert saving.train_graph() == plain.train_graph()


def test_stages_warm_ups_and_parts_are_recomputed_too() -> None:
    plans = [plan_of(RESNET, recompute=choice, stages=2, cut="auto") for choice in (False, True)]

    def graphs(plan: Plan) -> list[bytes]:
        assert plan.split is not None
        return [
            plan.train_graph(0),
            plan.train_graph(1),
            plan.train_graph(1, warm_up=True),
            plan.split.backward_graph(0),
            plan.split.step_graph(),
        ]

    for plain, saving in zip(*map(graphs, plans), strict=True):
        assert saving != plain
