"""Promise: every model of the zoo gets the gradients of a float64 evaluation of the same graph."""

import dataclasses

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.cases import CASES
from edge_sdk.authoring import zoo
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.losses import chosen_loss
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.passes import TO_FLOAT64, run_passes
from edge_sdk.authoring.training import forward_graph, gradient_graph
from edge_sdk.plan.conventions import LOSS, TARGET

LIMIT = 1e-3


def test_every_model_of_the_zoo_has_a_case() -> None:
    assert set(zoo.NAMES) == set(CASES)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_float32_gradients_are_those_of_float64(name: str) -> None:
    case = dataclasses.replace(CASES[name], batch=4)
    forward = forward_graph(zoo.make(name, case.input_shape, case.classes, seed=1))
    loss = chosen_loss(case.loss)
    x, target = case.draw(seed=1)
    graph = gradient_graph(forward, loss)
    inputs = (*graph.inputs, *graph.parameters)
    feeds = {graph.inputs[0]: x, TARGET: target, **graph.parameters}
    session = ort.InferenceSession(
        to_model(graph, inputs=inputs), providers=["CPUExecutionProvider"]
    )
    found = dict(zip(graph.outputs, session.run(list(graph.outputs), feeds), strict=True))

    exact = gradient_graph(run_passes(forward, TO_FLOAT64), loss)
    wide = {
        key: np.asarray(array, np.float64) if array.dtype == np.float32 else array
        for key, array in feeds.items()
    }
    outputs = run_model(to_model(exact, inputs=inputs), wide)
    wanted = dict(zip(exact.outputs, outputs, strict=True))

    assert abs(float(found[LOSS]) - float(wanted[LOSS])) < LIMIT * abs(float(wanted[LOSS]))
    largest = max(float(np.abs(array).max()) for array in wanted.values())
    for output, array in wanted.items():
        # A weight whose scale a normalisation takes out again has a gradient of rounding alone.
        scale = max(float(np.abs(array).max()), 1e-3 * largest)
        assert float(np.abs(found[output] - array).max()) < LIMIT * scale, output
