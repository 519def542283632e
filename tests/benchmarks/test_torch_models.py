"""Runs only where PyTorch is installed; the project itself never installs it."""

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks.cases import CASES
from benchmarks.train_step import forward_model, initial_weights

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("name", sorted(CASES))
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
