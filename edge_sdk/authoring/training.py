"""Forward graph + loss + optimizer -> train, evaluation and gradient graphs."""

import dataclasses
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
from edge_sdk.plan.conventions import CORRECT, LEARNING_RATE, LOSS, TARGET, new_name
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
    """Names of what it trains, in the forward graph's order."""
    state: tuple[Parameter, ...]
    """Optimizer state, zero at the start."""
    classes: int | None
    """Number of classes; None where the task has none."""


def train_graph(graph: Graph, loss: Loss, optimizer: Optimizer) -> TrainGraph:
    """One training step: forward, backward, update."""
    builder = Builder(graph)
    seat, measured = _measured(builder, graph, loss)
    gradients = differentiate(builder, {seat.name: measured.cotangent}, tuple(graph.parameters))
    rate = builder.input(LEARNING_RATE, Type(np.dtype(np.float32), ()))
    outputs = {LOSS: measured.loss}
    states: dict[str, Value] = {}
    for name, gradient in gradients.items():
        weight = builder.value(name)
        state = {s: builder.input(name + s, weight.type) for s in optimizer.state}
        moved, new_state = optimizer.step(weight, gradient, rate, state)
        outputs[new_name(name)] = moved
        states |= {new_name(name + suffix): value for suffix, value in new_state.items()}
    kept = tuple(gradients)
    state_names = tuple(name + s for name in kept for s in optimizer.state)
    made = only_trainable(builder.finish(graph.name, outputs | states), kept)
    return TrainGraph(
        graph=_tidy(made),
        inputs=(*graph.inputs, TARGET, LEARNING_RATE, *kept, *state_names),
        parameters=kept,
        state=tuple(
            Parameter(name + s, graph.parameters[name].shape)
            for name in kept
            for s in optimizer.state
        ),
        classes=loss.classes(seat),
    )


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
