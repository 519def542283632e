"""Forward graph + loss + optimizer -> train, evaluation and gradient graphs."""

import dataclasses
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np
import onnx

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.differentiate import differentiate, trainable
from edge_sdk.authoring.graph import Graph, Type
from edge_sdk.authoring.losses import Loss, Measured
from edge_sdk.authoring.optimizers import Optimizer
from edge_sdk.authoring.passes import (
    FOLD_CONSTANTS,
    FREE_RESERVED_NAMES,
    MERGE_EQUAL_NODES,
    REMOVE_UNUSED,
    run_passes,
)
from edge_sdk.authoring.reading import read_graph
from edge_sdk.errors import Unsupported
from edge_sdk.plan.conventions import (
    CORRECT,
    LEARNING_RATE,
    LOSS,
    TARGET,
    cotangent_name,
    new_name,
)
from edge_sdk.values import Parameter


def forward_graph(model: bytes | Path | onnx.ModelProto) -> Graph:
    """Read a model and bring it to the form that everything here starts from.

    One float32 output, one input, constants folded, only trainable parameters left in
    `parameters` (others are constants).

    Raises:
        Malformed: the model is not sound, or not supported.
    """
    graph = run_passes(read_graph(model), FREE_RESERVED_NAMES, FOLD_CONSTANTS, REMOVE_UNUSED)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise Unsupported(
            f"model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "one of each is supported"
        )
    kind = graph.types[graph.outputs[0]]
    if kind.dtype != np.float32 or not kind.shape or isinstance(kind.shape[0], int):
        raise Unsupported(f"output is {kind}; it must be float32 with the batch axis first")
    names = trainable(graph)
    if not names:
        raise Unsupported(
            "model has no trainable weights; they must be float32 initializers with at least "
            "one axis"
        )
    return only_trainable(graph, names)


def only_trainable(graph: Graph, names: tuple[str, ...]) -> Graph:
    """The graph with all parameters but `names` made constants."""
    frozen = {name: a for name, a in graph.parameters.items() if name not in names}
    return dataclasses.replace(
        graph,
        parameters={name: a for name, a in graph.parameters.items() if name in names},
        constants={**graph.constants, **frozen},
    )


def _measured(builder: Builder, graph: Graph, loss: Loss) -> tuple[Value, Measured]:
    """The value the loss reads and what it makes of it; adds the target input."""
    seat = loss.seat(builder.value(graph.outputs[0]))
    target = builder.input(TARGET, loss.target(seat))
    return seat, loss.measure(seat, target)


def gradient_graph(graph: Graph, loss: Loss) -> Graph:
    """Outputs: the loss, then the gradient of each parameter under the name `<name>.new`."""
    builder = Builder(graph)
    seat, measured = _measured(builder, graph, loss)
    gradients = differentiate(builder, {seat.name: measured.cotangent}, tuple(graph.parameters))
    outputs = {LOSS: measured.loss} | {new_name(n): g for n, g in gradients.items()}
    return _tidy(builder.finish(graph.name, outputs))


@dataclasses.dataclass(frozen=True, slots=True)
class TrainGraph:
    """A training step, and what it trains and carries."""

    graph: Graph
    inputs: tuple[str, ...]
    """Everything fed, in the order of the conventions."""
    parameters: tuple[str, ...]
    """Names of the parameters it is fed, in the forward graph's order."""
    trained: tuple[str, ...]
    """Those of them it trains."""
    state: tuple[Parameter, ...]
    """Optimizer state, zero at the start."""
    classes: int | None
    """Number of classes; None where the task has none."""


def train_graph(
    graph: Graph,
    loss: Loss,
    optimizer: Optimizer,
    *,
    only: Container[str] | None = None,
    hand_back: str | None = None,
) -> TrainGraph:
    """One training step: forward, backward, update.

    Args:
        graph: the forward graph. Parameters that do not change the loss become constants.
        loss: what is minimised.
        optimizer: how gradients move weights.
        only: train these parameters; the others are fed but stay, and all must change the loss.
            All where None.
        hand_back: an input whose cotangent becomes the output after the loss.
    """
    builder = Builder(graph)
    seat, measured = _measured(builder, graph, loss)
    wanted = [name for name in graph.parameters if only is None or name in only]
    wanted += [hand_back] if hand_back is not None else []
    gradients = differentiate(builder, {seat.name: measured.cotangent}, wanted)
    outputs = {LOSS: measured.loss}
    if hand_back is not None:
        outputs[cotangent_name(hand_back)] = gradients.pop(hand_back)
    fed = tuple(gradients if only is None else graph.parameters)
    rate = builder.input(LEARNING_RATE, Type(np.dtype(np.float32), ()))
    update = _update(builder, gradients, optimizer, rate)
    made = only_trainable(builder.finish(graph.name, outputs | update.outputs), fed)
    state_names = tuple(p.name for p in update.state)
    return TrainGraph(
        graph=_tidy(made),
        inputs=(*graph.inputs, TARGET, LEARNING_RATE, *fed, *state_names),
        parameters=fed,
        trained=tuple(gradients),
        state=update.state,
        classes=loss.classes(seat),
    )


def backward_graph(graph: Graph, optimizer: Optimizer, *, hand_back: str | None) -> TrainGraph:
    """One update of a part in front of the loss, from the cotangent of its output.

    Args:
        graph: the part; one output.
        optimizer: how gradients move weights.
        hand_back: an input whose cotangent becomes the first output.
    """
    builder = Builder(graph)
    (cut,) = graph.outputs
    seed = builder.input(cotangent_name(cut), graph.types[cut])
    gradients = differentiate(builder, {cut: seed}, (*graph.parameters, *filter(None, [hand_back])))
    outputs: dict[str, Value] = {}
    if hand_back is not None:
        outputs[cotangent_name(hand_back)] = gradients.pop(hand_back)
    fed = tuple(gradients)
    rate = builder.input(LEARNING_RATE, Type(np.dtype(np.float32), ()))
    update = _update(builder, gradients, optimizer, rate)
    made = only_trainable(builder.finish(graph.name, outputs | update.outputs), fed)
    state_names = tuple(p.name for p in update.state)
    return TrainGraph(
        graph=_tidy(made),
        inputs=(*graph.inputs, seed.name, LEARNING_RATE, *fed, *state_names),
        parameters=fed,
        trained=fed,
        state=update.state,
        classes=None,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Update:
    """What the optimizer adds to a graph."""

    outputs: dict[str, Value]
    """New weights, then new state."""
    state: tuple[Parameter, ...]


def _update(
    builder: Builder, gradients: Mapping[str, Value], optimizer: Optimizer, rate: Value
) -> _Update:
    """Let `optimizer` move each weight by its gradient; its state becomes inputs."""
    weights: dict[str, Value] = {}
    states: dict[str, Value] = {}
    kept: list[Parameter] = []
    for name, gradient in gradients.items():
        weight = builder.value(name)
        state = {s: builder.input(name + s, weight.type) for s in optimizer.state}
        moved, new_state = optimizer.step(weight, gradient, rate, state)
        weights[new_name(name)] = moved
        states |= {new_name(name + suffix): value for suffix, value in new_state.items()}
        kept += [Parameter(name + s, builder.parameters[name].shape) for s in optimizer.state]
    return _Update(weights | states, tuple(kept))


def evaluate_graph(graph: Graph, loss: Loss) -> Graph:
    """Outputs: the loss and, for a task with classes, the count of hits."""
    builder = Builder(graph)
    _, measured = _measured(builder, graph, loss)
    outputs = {LOSS: measured.loss}
    if measured.correct is not None:
        outputs[CORRECT] = measured.correct
    return _tidy(builder.finish(graph.name, outputs))


def _tidy(graph: Graph) -> Graph:
    return run_passes(graph, REMOVE_UNUSED, MERGE_EQUAL_NODES, REMOVE_UNUSED)
