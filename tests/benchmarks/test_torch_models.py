"""Runs only where PyTorch is installed; the project itself never installs it."""

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from benchmarks.cases import CASES
from benchmarks.train_step import forward_model, initial_weights
from edge_sdk.authoring import build_plan
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.values import TrainSettings

torch = pytest.importorskip("torch")

RATE = 64.0
"""Of the one step: large, so that the step is not lost in the rounding of the weights."""

DRAW = 1
"""Of the batch: with some, rounding puts one value on the other side of a Relu's or maximum's kink,
which moves the gradient by up to some 1e-3 in either library. Not with this one."""

every_case = pytest.mark.parametrize("name", sorted(CASES))


@every_case
def test_the_oracle_is_the_same_model(name: str) -> None:
    from benchmarks import torch_models

    model = forward_model(name)
    parameters = torch_models.load(initial_weights(model))
    x, _ = CASES[name].draw()
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (ours,) = session.run(None, {session.get_inputs()[0].name: x})
    with torch.no_grad():
        theirs = torch_models.MODELS[name](parameters, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * float(np.std(theirs)))


def autograd(name: str) -> tuple[float, dict[str, NDArray[np.float64]]]:
    """Loss and gradients by PyTorch in float64."""
    from benchmarks import torch_models

    case = CASES[name]
    x, y = (a if a.dtype == np.int64 else a.astype(np.float64) for a in case.draw(DRAW))
    weights = {key: a.astype(np.float64) for key, a in initial_weights(forward_model(name)).items()}
    parameters = torch_models.load(weights)
    logits = torch_models.MODELS[name](parameters, torch.from_numpy(x))
    loss = torch_models.loss_of(case, logits, torch.from_numpy(y))
    loss.backward()
    return loss.item(), {k: t.grad.numpy() for k, t in parameters.items() if t.requires_grad}


@every_case
def test_one_step_moves_weights_along_autograds_gradient(name: str) -> None:
    """All weights as one vector: the error's norm within 1e-3 of the gradient's."""
    from benchmarks import torch_models

    case = CASES[name]
    model = forward_model(name)
    plan = build_plan(model, loss=case.loss, momentum=0.0, name=name)
    x, y = case.draw(DRAW)
    start = plan.initial_weights()
    trained = OnnxRuntimeEngine(plan).train(
        start,
        ArrayDataset(x, y).fit(plan),
        TrainSettings(batch_size=case.batch, learning_rate=RATE),
    )
    loss, exact = autograd(name)
    moved = plan.layout().split((start - trained.weights) / np.float32(RATE))
    arrays = torch_models.in_pytorch_form(moved)
    ours = np.concatenate([arrays[key].reshape(-1) for key in exact], dtype=np.float64)
    truth = np.concatenate([gradient.reshape(-1) for gradient in exact.values()])
    assert trained.loss == pytest.approx(loss, rel=1e-4)
    assert np.linalg.norm(ours - truth) < 1e-3 * np.linalg.norm(truth)
