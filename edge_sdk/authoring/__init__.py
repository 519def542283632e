"""Workstation only (extra `authoring`): a forward ONNX model and a loss become a plan.

::

    reading        ONNX file -> Graph: checked, functions inlined, one operator set, typed
    graph          the Graph: plain frozen data
    onnx_form      Graph -> ONNX; type inference of a node
    passes/        Graph -> Graph, each with a checked contract: fold, tidy, names, precision,
                   batch norm and dropout for training and evaluation
    builder        writes typed nodes; values with operators
    differentiate/ gradient rules by operator family, one backward walk
    losses/, optimizers  tables of what is minimised and how weights move
    updating       from gradients to new weights: gathering, further terms, clipping, the step
    training       forward graph -> train, evaluation and gradient graphs
    freeze, cuts, heads, stages, split   parts of a model: which train, where they end
    build          the whole way to a plan: `build_plan`
    proposals      where a model can be cut: `propose_cuts`
    exporting      trained weights back into the model: `with_weights`
    inference      a plan's own model with weights inside, for use: `inference_model`
    checking       gradients against finite differences in float64: `check_gradients`
    evaluation     runs nodes in numpy, for folding and checking
    zoo            models to start from, built without any framework
"""

from edge_sdk.authoring.build import build_plan
from edge_sdk.authoring.checking import GradientCheck, check_gradients
from edge_sdk.authoring.exporting import with_weights
from edge_sdk.authoring.inference import inference_model
from edge_sdk.authoring.proposals import Place, propose_cuts

__all__ = [
    "GradientCheck",
    "Place",
    "build_plan",
    "check_gradients",
    "inference_model",
    "propose_cuts",
    "with_weights",
]
