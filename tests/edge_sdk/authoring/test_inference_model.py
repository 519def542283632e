"""Promise: the model taken out of a plan computes what the model it was built from computes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan, inference_model, with_weights, zoo
from edge_sdk.authoring.architectures import resnet
from edge_sdk.errors import Misuse

EXPORTED = Path(__file__).parent / "exported"
RANDOM = np.random.Generator(np.random.PCG64(11))


def run(model: bytes, batch: NDArray[np.generic]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    (fed,) = session.get_inputs()
    out = session.run(None, {fed.name: batch})[-1]
    return np.asarray(out, np.float32)


def moved(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    return weights + RANDOM.normal(0, 0.01, weights.shape).astype(np.float32)


MODELS = {
    "mlp": zoo.mlp((5,), 3, hidden=(6, 4)),
    "cnn": zoo.cnn((1, 12, 12), 4),
    "resnet": resnet((3, 8, 8), 4, blocks=(1,), width=4).SerializeToString(),
}


@pytest.mark.parametrize("loss", ["cross-entropy", "binary-cross-entropy", "mse", "huber"])
@pytest.mark.parametrize("name", MODELS)
def test_it_computes_what_the_first_model_computes(name: str, loss: str) -> None:
    model = MODELS[name]
    plan = build_plan(model, loss=loss, name=name)
    weights = moved(plan.initial_weights())
    batch = RANDOM.normal(size=(7, *plan.input.shape)).astype(np.float32)
    made = inference_model(plan, weights)
    onnx.checker.check_model(onnx.load_model_from_string(made), full_check=True)
    expected = run(with_weights(model, plan, weights), batch)
    np.testing.assert_allclose(run(made, batch), expected, rtol=1e-4, atol=1e-5)
    assert run(made, batch[:1]).shape == expected[:1].shape


def test_a_softmax_that_belongs_to_the_loss_is_left_out() -> None:
    path = EXPORTED / "sklearn_mlp_classifier_18.onnx"
    plan = build_plan(path, loss="cross-entropy", name="sklearn")
    batch = RANDOM.normal(size=(4, *plan.input.shape)).astype(np.float32)
    scores = run(inference_model(plan, plan.initial_weights()), batch).astype(np.float64)
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, run(path.read_bytes(), batch), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["convnet_18", "lstm_18", "transformer_18", "sensors_18"])
def test_models_of_other_frameworks_come_out_too(name: str) -> None:
    path = EXPORTED / f"{name}.onnx"
    plan = build_plan(path, loss="cross-entropy", name=name)
    kind = plan.input
    shape = (3, *kind.shape)
    batch: NDArray[np.generic] = RANDOM.normal(size=shape).astype(np.float32)
    if kind.dtype != "float32":
        batch = RANDOM.integers(0, 4, shape).astype(kind.dtype)
    weights = plan.initial_weights()
    expected = run(with_weights(path, plan, weights), batch)
    made = run(inference_model(plan, weights), batch)
    np.testing.assert_allclose(made, expected, rtol=1e-3, atol=1e-4)


def test_a_stage_has_a_model_of_its_own() -> None:
    plan = build_plan(MODELS["mlp"], loss="cross-entropy", name="n", stages=2)
    batch = np.ones((2, 5), np.float32)
    assert run(inference_model(plan, plan.initial_weights(0), stage=0), batch).shape == (2, 3)
    with pytest.raises(Misuse, match="shape"):
        inference_model(plan, plan.initial_weights(0), stage=1)
