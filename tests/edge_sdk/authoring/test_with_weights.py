"""Promises of `with_weights`: the same model with what was trained, or a clear refusal."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_sdk.authoring import build_plan, with_weights, zoo
from edge_sdk.authoring.architectures import resnet
from edge_sdk.errors import Corrupt, Misuse

MODEL = zoo.mlp((5,), 3, hidden=(6, 4))


def stored(model: bytes) -> dict[str, Any]:
    proto = onnx.load_model_from_string(model)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def test_first_weights_give_the_model_back() -> None:
    for model in (MODEL, resnet((3, 8, 8), 4, blocks=(1,), width=4).SerializeToString()):
        plan = build_plan(model, loss="cross-entropy", name="n", stages=2)
        found = stored(with_weights(model, plan, plan.initial_weights(1)))
        for name, array in stored(model).items():
            np.testing.assert_array_equal(found[name], array)


def test_trained_weights_stand_in_the_model() -> None:
    plan = build_plan(MODEL, loss="cross-entropy", name="n")
    weights = plan.initial_weights() + 1
    found = stored(with_weights(MODEL, plan, weights))
    for name, array in plan.layout().split(weights).items():
        np.testing.assert_array_equal(found[name], array)


def test_an_early_stage_gives_its_blocks_and_no_head() -> None:
    plan = build_plan(MODEL, loss="cross-entropy", name="n", stages=2)
    found = stored(with_weights(MODEL, plan, plan.initial_weights(0) + 1, stage=0))
    first = stored(MODEL)
    shared = {p.name for p in plan.layout(0).parameters} & first.keys()
    assert found.keys() == first.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(found[name], array + 1 if name in shared else array)


def test_what_does_not_fit_is_refused() -> None:
    plan = build_plan(MODEL, loss="cross-entropy", name="n")
    with pytest.raises(Misuse, match="shape"):
        with_weights(MODEL, plan, plan.initial_weights()[:-1])
    with pytest.raises(Misuse, match="no weight"):
        with_weights(zoo.mlp((5,), 3, hidden=(7,)), plan, plan.initial_weights())
    with pytest.raises(Corrupt):
        with_weights(b"\xff\xff", plan, plan.initial_weights())
