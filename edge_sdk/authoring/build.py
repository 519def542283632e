"""Forward ONNX model + loss + optimizer -> plan."""

from pathlib import Path
from typing import cast

import numpy as np
import onnx
from pydantic import ValidationError

from edge_sdk.authoring.graph import Type
from edge_sdk.authoring.losses import loss_named
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.optimizers import optimizer_named
from edge_sdk.authoring.training import (
    evaluate_graph,
    forward_graph,
    only_trainable,
    train_graph,
)
from edge_sdk.errors import Unsupported
from edge_sdk.plan import Plan, StageParts, TensorSpec, load_plan, pack_plan
from edge_sdk.plan.conventions import TARGET
from edge_sdk.plan.manifest import DType
from edge_sdk.values import Layout, Parameter


def build_plan(
    model: bytes | Path | onnx.ModelProto,
    *,
    loss: str,
    optimizer: str = "sgd",
    momentum: float = 0.9,
    name: str,
) -> Plan:
    """Make a plan that trains every weight of `model`; its bytes are `plan.data`.

    Equal arguments give equal bytes. The model has one input with a dynamic batch axis and one
    output; its weights are float32 initializers with at least one axis.

    Args:
        model: forward ONNX model, operator set 13 or later: bytes, path or parsed.
        loss: `cross-entropy` (class index targets; a final Softmax is looked through) or `mse`.
        optimizer: `sgd`.
        momentum: of SGD; 0 for none.
        name: what people call the plan.

    Raises:
        Malformed: the model is not sound, or (`Unsupported`) holds something without a gradient;
            one line names the cause.
        Misuse: an argument is wrong.
        OSError: the path cannot be read.
    """
    measure, rule = loss_named(loss), optimizer_named(optimizer, momentum=momentum)
    forward = forward_graph(model)
    train = train_graph(forward, measure, rule)
    if not train.parameters:
        raise Unsupported("no weight of the model changes its loss")
    forward = only_trainable(forward, train.parameters)
    evaluate = evaluate_graph(forward, measure)
    layout = Layout(tuple(Parameter(n, forward.parameters[n].shape) for n in train.parameters))
    (fed,) = forward.inputs
    data = pack_plan(
        name=name,
        loss=loss,
        optimizer=rule.spec,
        classes=train.classes,
        input_spec=_spec(fed, forward.types[fed]),
        target_spec=_spec(TARGET, train.graph.types[TARGET]),
        parameters=layout.parameters,
        weights=layout.flatten({n: a.astype(np.float32) for n, a in forward.parameters.items()}),
        stages=[
            StageParts(
                name="all",
                parameters=tuple(range(len(layout.parameters))),
                state=train.state,
                train=to_model(train.graph, inputs=train.inputs),
                evaluate=to_model(evaluate, inputs=(fed, TARGET, *train.parameters)),
            )
        ],
    )
    return load_plan(data)


def _spec(name: str, kind: Type) -> TensorSpec:
    """What the manifest says of an input: all axes but the batch must be known."""
    sizes = kind.shape[1:] if kind.shape else ()
    fixed = tuple(size for size in sizes if isinstance(size, int))
    if len(fixed) < len(sizes):
        raise Unsupported(f"{name} is {kind}; only its batch axis may be open")
    try:
        return TensorSpec(name=name, dtype=cast("DType", kind.dtype.name), shape=fixed)
    except ValidationError as error:
        raise Unsupported(f"{name} is {kind}, which a device cannot feed") from error
