"""Trained weights as a plain ONNX file. Loaded only when asked for: it needs `onnx`."""

import hashlib
from pathlib import Path

import numpy as np

from edge_sdk.authoring import inference_model, with_weights
from edge_sdk.errors import Corrupt
from edge_sdk.plan import load_plan
from edge_sdk.values.summaries import RunSummary


def write_model(
    path: Path, run: RunSummary, bundle: bytes, weights: bytes, *, version: int, model: Path | None
) -> int:
    """Write the model to `path`; its size in bytes.

    Args:
        path: the file to write.
        run: whose plan and weights they are.
        bundle: the plan.
        weights: float32, little-endian, of all the plan's parameters.
        version: whose weights they are. Of a model that still grows, the stage is written that the
            version was made in, with its own head.
        model: what the plan was built from; None makes the model from the plan.

    Raises:
        Malformed: what the server sent does not fit together.
        Misuse: `model` has no such weights.
    """
    if hashlib.sha256(bundle).hexdigest() != run.plan:
        raise Corrupt("the plan's digest does not hold")
    plan = load_plan(bundle)
    segments, stage = plan.segments(), stage_of(run, version, last=plan.stages - 1)
    if len(weights) != 4 * segments.size or stage >= plan.stages:
        raise Corrupt(f"{len(weights)} bytes of weights for {segments.size} parameters")
    values = segments.stage(stage).take(np.frombuffer(weights, "<f4").astype(np.float32))
    if model is None:
        made = inference_model(plan, values, stage=stage)
    else:
        made = with_weights(model, plan, values, stage=stage)
    path.write_bytes(made)
    return len(made)


def stage_of(run: RunSummary, version: int, *, last: int) -> int:
    """The stage of the latest round that made one of the versions up to `version`."""
    made = [one for one in run.rounds if one.state == "published" and one.model_version < version]
    return made[-1].stage if made else last
