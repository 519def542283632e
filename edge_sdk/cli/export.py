"""Trained weights as a plain ONNX file. Loaded only when asked for: it needs `onnx`."""

import hashlib
from pathlib import Path

import numpy as np

from edge_sdk.authoring import inference_model, with_weights
from edge_sdk.errors import Corrupt
from edge_sdk.plan import load_plan
from edge_sdk.values import RunSummary


def write_model(
    path: Path, run: RunSummary, bundle: bytes, weights: bytes, *, model: Path | None
) -> int:
    """Write the model to `path`; its size in bytes.

    Args:
        path: the file to write.
        run: whose plan and weights they are.
        bundle: the plan.
        weights: float32, little-endian, of the plan's last stage.
        model: what the plan was built from; None makes the model from the plan.

    Raises:
        Malformed: what the server sent does not fit together.
        Misuse: `model` has no such weights.
    """
    if hashlib.sha256(bundle).hexdigest() != run.plan:
        raise Corrupt("the plan's digest does not hold")
    plan = load_plan(bundle)
    stage = plan.stages - 1
    if len(weights) != 4 * plan.layout(stage).size:
        raise Corrupt(f"{len(weights)} bytes of weights for {plan.layout(stage).size} parameters")
    values = np.frombuffer(weights, "<f4").astype(np.float32)
    made = inference_model(plan, values) if model is None else with_weights(model, plan, values)
    path.write_bytes(made)
    return len(made)
