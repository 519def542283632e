"""Forward ONNX model + loss + optimizer -> plan."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
from pydantic import ValidationError

from edge_sdk.authoring.freeze import freeze as freeze_parameters
from edge_sdk.authoring.graph import Type
from edge_sdk.authoring.losses import Loss, chosen_loss
from edge_sdk.authoring.optimizers import Optimizer, chosen_optimizer
from edge_sdk.authoring.split import make_split
from edge_sdk.authoring.stages import Stages, make_stages, stage_parts
from edge_sdk.authoring.training import (
    BatchNorm,
    Finish,
    TrainGraph,
    forward_graph,
    only_trainable,
    recomputing,
    train_graph,
)
from edge_sdk.errors import Unsupported
from edge_sdk.plan import Plan, TensorSpec, load_plan, pack_plan
from edge_sdk.plan.conventions import TARGET
from edge_sdk.plan.manifest import DType
from edge_sdk.values import Layout, Parameter


def build_plan(
    model: bytes | Path | onnx.ModelProto,
    *,
    loss: str | Loss,
    optimizer: str | Optimizer = "sgd",
    name: str,
    label_smoothing: float | None = None,
    ignore_index: int | None = None,
    class_weights: Sequence[float] | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    proximal: bool = False,
    correction: bool = False,
    accumulate: bool = False,
    batch_norm: BatchNorm = "train",
    freeze: str | None = None,
    stages: Stages = 1,
    warm_up: bool = True,
    cut: str | Sequence[str] | None = None,
    recompute: bool = False,
) -> Plan:
    """Make a plan that trains the weights of `model`; its bytes are `plan.data`.

    Equal arguments give equal bytes. The model has one input with a dynamic batch axis and one
    output; its weights are float32 initializers with at least one axis.

    Args:
        model: forward ONNX model, operator set 13 or later: bytes, path or parsed.
        loss: `cross-entropy`, `binary-cross-entropy`, `dice`, `mse`, `l1` or `huber`, or one made
            with other settings by a function of `losses`. Where a model ends in Softmax or Sigmoid,
            the first three read the scores in front of it.
        optimizer: `sgd`, `nesterov`, `adam` or `adamw`, or one made by a function of `optimizers`.
        name: what people call the plan.
        label_smoothing: of cross-entropy: share of the target spread over all classes.
        ignore_index: of the cross-entropies: target of positions that do not count.
        class_weights: of cross-entropy: one per class.
        momentum: 0.9 where None; 0 for none. Of Adam, the first decay rate.
        weight_decay: 0 where None, of `adamw` 0.01. Applies to every weight.
        clip_norm: longest gradient, all weights together.
        proximal: give train graphs the inputs of FedProx (see `plan.conventions`, as for the next).
        correction: give train graphs a term to add to each gradient.
        accumulate: let train graphs gather gradients over several small batches.
        batch_norm: `train` to normalise by each batch and carry running statistics as parameters,
            `frozen` to keep the statistics that the model came with.
        freeze: regular expression; weights whose name it matches stay as they are. They stand in
            every graph as constants, not in the plan's parameters.
        stages: how many stages of growing depth, `auto` for as many as are worth it, or the tensors
            to cut at (see `stages`). The last stage is the whole model.
        warm_up: give every stage but the first a second train graph that trains only what the
            stage before does not have, its temporary head included.
        cut: split the model here as well (see `split`): a tensor, two of them for a split in which
            targets stay with the input, or `auto`.
        recompute: compute normalisations and activations again in the backward pass: a few percent
            more time, and up to a quarter less memory where a model has many of them.

    Raises:
        Malformed: the model is not sound, or (`Unsupported`) holds something without a gradient;
            one line names the cause.
        Misuse: an argument is wrong.
        OSError: the path cannot be read.
    """
    measure = chosen_loss(
        loss,
        label_smoothing=label_smoothing,
        ignore_index=ignore_index,
        class_weights=class_weights,
    )
    rule = chosen_optimizer(
        optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        proximal=proximal,
        correction=correction,
        accumulate=accumulate,
    )
    forward = forward_graph(model, batch_norm=batch_norm)
    if freeze is not None:
        forward = freeze_parameters(forward, freeze)
    train = train_graph(forward, measure, rule)
    if not train.parameters:
        raise Unsupported("no weight of the model changes its loss")
    forward = only_trainable(forward, train.parameters)
    made = make_stages(forward, stages)
    initial = {n: a for stage in (made[-1], *made) for n, a in stage.graph.parameters.items()}
    layout = Layout(tuple(Parameter(n, a.shape) for n, a in initial.items()))
    positions = {name: at for at, name in enumerate(initial)}
    finish: Finish = recomputing if recompute else _as_it_is
    (fed,) = forward.inputs
    data = pack_plan(
        name=name,
        loss=measure.name,
        optimizer=rule.spec,
        classes=train.classes,
        input_spec=_spec(fed, forward.types[fed]),
        target_spec=_spec(TARGET, train.graph.types[TARGET]),
        parameters=layout.parameters,
        weights=layout.flatten({n: a.astype(np.float32) for n, a in initial.items()}),
        stages=stage_parts(made, measure, rule, positions, warm_up=warm_up, finish=finish),
        split=make_split(forward, measure, rule, _cuts(cut), positions, finish=finish)
        if cut
        else None,
    )
    return load_plan(data)


def _as_it_is(made: TrainGraph) -> TrainGraph:
    return made


def _cuts(cut: str | Sequence[str]) -> Sequence[str]:
    return [cut] if isinstance(cut, str) else cut


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
