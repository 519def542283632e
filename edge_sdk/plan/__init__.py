"""The training plan: manifest and ONNX graphs in one verified bundle, read on the device.

A bundle is a ZIP file of one canonical form (`archive`): stored entries, fixed order, one fixed
timestamp. It holds::

    manifest.json           what the plan says of itself (`manifest`), with size and SHA-256 of:
    stage0-train.onnx       one training step as a graph of standard operators
    stage0-evaluate.onnx    loss and hits
    stage1-warm-up.onnx     a step of the newest block alone; where a stage has one
    part0-forward.onnx      the model split at a tensor (`split`), where the plan has it:
    part0-backward.onnx     the device's half of a step,
    part1-step.onnx         and the server's
    weights.f32             initial weights, flat little-endian float32 in layout order

`conventions` names the graphs' inputs and outputs. `segments` says which coordinates stages share,
`model_frames` what a download of them decodes to. `edge_sdk.authoring` makes plans.
"""

from edge_sdk.plan.bundle import Plan, StageParts, WarmUpParts, load_plan, pack_plan
from edge_sdk.plan.manifest import Manifest, TensorSpec
from edge_sdk.plan.model_frames import add_delta, put_snapshot, read_model
from edge_sdk.plan.segments import Segment, Segments, Spans
from edge_sdk.plan.split import PartGraphs, Split, SplitParts

__all__ = [
    "Manifest",
    "PartGraphs",
    "Plan",
    "Segment",
    "Segments",
    "Spans",
    "Split",
    "SplitParts",
    "StageParts",
    "TensorSpec",
    "WarmUpParts",
    "add_delta",
    "load_plan",
    "pack_plan",
    "put_snapshot",
    "read_model",
]
