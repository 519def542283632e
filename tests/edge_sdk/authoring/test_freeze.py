"""Promises of freezing: frozen weights are constants, cost no backward pass, and never move."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.architectures import resnet
from edge_sdk.errors import Misuse

Array = NDArray[Any]
MODEL = zoo.cnn((1, 8, 8), 3, channels=(2, 3), width=4)


def parameter_names(model: bytes) -> list[str]:
    plan = build_plan(model, loss="cross-entropy", name="n")
    return [p.name for p in plan.layout().parameters]


def test_frozen_weights_are_not_in_the_layout_but_in_the_graphs() -> None:
    names = parameter_names(MODEL)
    plan = build_plan(MODEL, loss="cross-entropy", name="n", freeze=f"^{names[0]}$")
    assert [p.name for p in plan.layout().parameters] == names[1:]
    for data in (plan.train_graph(), plan.evaluate_graph()):
        graph = onnx.load_model_from_string(data).graph
        assert names[0] in {tensor.name for tensor in graph.initializer}
        assert names[0] not in {value.name for value in graph.input}


def test_layers_before_the_first_trained_one_cost_no_backward_pass() -> None:
    names = parameter_names(MODEL)
    everything = build_plan(MODEL, loss="cross-entropy", name="n")
    last = build_plan(
        MODEL, loss="cross-entropy", name="n", freeze="|".join(f"^{n}$" for n in names[:-2])
    )

    def kinds(data: bytes) -> list[str]:
        return [node.op_type for node in onnx.load_model_from_string(data).graph.node]

    assert "MaxUnpool" in kinds(everything.train_graph())
    assert "MaxUnpool" not in kinds(last.train_graph())
    assert kinds(last.train_graph()).count("Conv") == kinds(last.evaluate_graph()).count("Conv")


def test_the_rest_trains_as_if_nothing_were_frozen(
    run: Callable[[bytes, dict[str, Array]], list[Array]],
) -> None:
    names = parameter_names(MODEL)
    plain = build_plan(MODEL, loss="cross-entropy", name="n", momentum=0)
    frozen = build_plan(MODEL, loss="cross-entropy", name="n", momentum=0, freeze=f"^{names[2]}$")
    rng = np.random.default_rng(0)
    fed: dict[str, Array] = {
        plain.input.name: rng.normal(size=(3, *plain.input.shape)).astype(np.float32),
        "target": np.array([0, 1, 2]),
        "lr": np.array(0.1, np.float32),
    }
    one = run(plain.train_graph(), fed | plain.layout().split(plain.initial_weights()))
    other = run(frozen.train_graph(), fed | frozen.layout().split(frozen.initial_weights()))
    del one[1 + 2]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_frozen_models_can_have_stages_and_a_split() -> None:
    model = resnet((3, 8, 8), 4, blocks=(1, 1, 1), width=4)
    plan = build_plan(
        model, loss="cross-entropy", name="n", freeze="^conv1|^bn1", stages=2, cut="auto"
    )
    held = {p.name for p in plan.manifest.layout.parameters}
    assert "conv1.weight" not in held
    assert plan.stages == 2
    assert plan.split is not None


def test_a_frozen_normalisation_keeps_its_statistics() -> None:
    model = resnet((3, 8, 8), 4, blocks=(1,), width=4)
    plan = build_plan(model, loss="cross-entropy", name="n", freeze="^bn1.weight")
    held = {p.name for p in plan.manifest.layout.parameters}
    assert {name for name in held if name.startswith("bn1")} == {"bn1.bias"}
    assert "layer1.0.bn1.running_mean" in held


@pytest.mark.parametrize(
    ("pattern", "text"),
    [("(", "no regular expression"), ("^nothing$", "matches no weight"), (".", "matches every")],
)
def test_wrong_patterns_are_misuse(pattern: str, text: str) -> None:
    with pytest.raises(Misuse, match=text):
        build_plan(MODEL, loss="cross-entropy", name="n", freeze=pattern)
