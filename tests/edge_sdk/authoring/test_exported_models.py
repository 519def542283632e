"""Models as exporters leave them are read, mean the same, and get right gradients.

`scripts/make_exported_models.py` made the files, with PyTorch 2.13, and
`scripts/make_sklearn_models.py`, with skl2onnx 1.20 and scikit-learn 1.9.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edge_sdk.authoring import build_plan, check_gradients
from edge_sdk.authoring.graph import Array
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.reading import read_graph

MODELS = sorted((Path(__file__).parent / "exported").glob("*.onnx"))
RNG = np.random.default_rng(8)


def drawn_input(model: Path, batch: int) -> dict[str, Array]:
    (info,) = onnx.load(model).graph.input
    kind = info.type.tensor_type
    shape = [batch, *(dim.dim_value for dim in kind.shape.dim[1:])]
    is_float = kind.elem_type == onnx.TensorProto.FLOAT
    array = RNG.normal(size=shape) if is_float else RNG.integers(0, 6, shape)
    return {info.name: array.astype(np.float32 if is_float else np.int64)}


def test_there_are_models_of_both_exporters() -> None:
    assert len([m for m in MODELS if "torchscript" in m.name]) >= 8
    assert len(MODELS) >= 18


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_what_is_read_computes_the_same(model: Path) -> None:
    graph = read_graph(model)
    sessions = [ort.InferenceSession(m) for m in (model.read_bytes(), to_model(graph))]
    for batch in (1, 3):
        feeds = drawn_input(model, batch)
        (*_, right), (found,) = (session.run(None, feeds) for session in sessions)
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_gradients_are_right(model: Path) -> None:
    (x,) = drawn_input(model, 2).values()
    *_, y = ort.InferenceSession(model.read_bytes()).run(None, drawn_input(model, 2))
    target = RNG.normal(size=y.shape)
    assert check_gradients(model, loss="mse", batch=(x, target), directions=2).worst < 1e-4


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.stem)
def test_all_weights_are_trained(model: Path) -> None:
    """Every stored float matrix or filter becomes a parameter of the plan."""
    plan = build_plan(model, loss="mse", name=model.stem)
    trained = sum(int(np.prod(p.shape)) for p in plan.layout().parameters)
    stored = [t for t in onnx.load(model).graph.initializer if t.data_type == 1 and len(t.dims) > 1]
    assert trained >= sum(int(np.prod(t.dims)) for t in stored)


def test_a_classifier_with_labels_beside_its_probabilities_learns_from_cross_entropy() -> None:
    """The label goes, the final Softmax is looked through, and the scaling in front stays fixed."""
    model = Path(__file__).parent / "exported/sklearn_scaled_mlp_classifier_18.onnx"
    plan = build_plan(model, loss="cross-entropy", name="sklearn")
    assert plan.classes == 3
    assert [p.shape for p in plan.layout().parameters] == [(4, 5), (1, 5), (5, 3), (1, 3)]
    operators = [node.op_type for node in onnx.load_from_string(plan.train_graph()).graph.node]
    assert "Softmax" not in operators
    assert "LogSoftmax" in operators
