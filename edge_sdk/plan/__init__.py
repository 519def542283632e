"""The training plan: manifest and ONNX graphs in one verified bundle, read on the device.

A bundle is a ZIP file of one canonical form (`archive`): stored entries, fixed order, one fixed
timestamp. It holds::

    manifest.json           what the plan says of itself (`manifest`), with size and SHA-256 of:
    stage0-train.onnx       one training step as a graph of standard operators
    stage0-evaluate.onnx    loss and hits
    weights.f32             initial weights, flat little-endian float32 in layout order

`conventions` names the graphs' inputs and outputs. `edge_sdk.authoring` makes plans.
"""

from edge_sdk.plan.bundle import Plan, StageParts, load_plan, pack_plan
from edge_sdk.plan.manifest import Manifest, TensorSpec

__all__ = ["Manifest", "Plan", "StageParts", "TensorSpec", "load_plan", "pack_plan"]
