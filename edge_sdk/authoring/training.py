"""Forward graph + loss + optimizer -> train, evaluation and gradient graphs."""

import dataclasses
from collections.abc import Callable, Container
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.differentiate import differentiate, trainable
from edge_sdk.authoring.graph import Graph
from edge_sdk.authoring.losses import Loss, Measured
from edge_sdk.authoring.optimizers import Optimizer
from edge_sdk.authoring.passes import (
    FOLD_CONSTANTS,
    FREE_RESERVED_NAMES,
    FREEZE_BATCH_NORM,
    LOWER_BATCH_NORM,
    LOWER_DROPOUT,
    MERGE_EQUAL_NODES,
    RECOMPUTE_CHEAP,
    REMOVE_IDENTITIES,
    REMOVE_UNUSED,
    TRAIN_BATCH_NORM,
    TRAIN_DROPOUT,
    WITHOUT_DROPOUT,
    run_passes,
    running_statistics,
)
from edge_sdk.authoring.reading import read_graph
from edge_sdk.authoring.updating import update
from edge_sdk.errors import Unsupported
from edge_sdk.plan.conventions import (
    CORRECT,
    COUNTED,
    LOSS,
    SEED,
    TARGET,
    cotangent_name,
    new_name,
)
from edge_sdk.values import Parameter

BatchNorm = Literal["train", "frozen"]
"""Whether normalisation follows the batches, or keeps the statistics the model came with."""


def forward_graph(
    model: bytes | Path | onnx.ModelProto, *, batch_norm: BatchNorm = "train"
) -> Graph:
    """Read a model and bring it to the form that everything here starts from.

    One float32 output, one input, constants folded, Dropout on, and only what training moves left
    in `parameters`: trainable weights, and running statistics unless `batch_norm` is frozen
    (others are constants).

    Raises:
        Malformed: the model is not sound, or not supported.
    """
    graph = run_passes(
        read_graph(model),
        FREE_RESERVED_NAMES,
        FOLD_CONSTANTS,
        REMOVE_IDENTITIES,
        REMOVE_UNUSED,
        TRAIN_BATCH_NORM if batch_norm == "train" else FREEZE_BATCH_NORM,
        TRAIN_DROPOUT,
    )
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
    running = running_statistics(graph)
    return only_trainable(graph, tuple(n for n in graph.parameters if n in names or n in running))


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
    """Outputs: the loss, then the gradient of each weight under the name `<name>.new`.

    Without dropout, by which the loss would be another at every run.
    """
    graph = run_passes(graph, WITHOUT_DROPOUT)
    running = running_statistics(graph)
    builder = Builder(graph)
    seat, measured = _measured(builder, graph, loss)
    wanted = [name for name in graph.parameters if name not in running]
    gradients = differentiate(builder, {seat.name: measured.cotangent}, wanted)
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


Finish = Callable[[TrainGraph], TrainGraph]
"""A last change to a train graph that is otherwise ready."""


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
    moved = [name for name in graph.parameters if only is None or name in only]
    running = {name: new for name, new in running_statistics(graph).items() if name in moved}
    wanted = [name for name in moved if name not in running]
    wanted += [hand_back] if hand_back is not None else []
    gradients = differentiate(builder, {seat.name: measured.cotangent}, wanted)
    outputs = {LOSS: measured.loss}
    if hand_back is not None:
        outputs[cotangent_name(hand_back)] = gradients.pop(hand_back)
    trained = tuple(n for n in graph.parameters if n in gradients or n in running)
    fed = trained if only is None else tuple(graph.parameters)
    moves = update(builder, trained, gradients, running, optimizer)
    made = _tidy(only_trainable(builder.finish(graph.name, {**outputs, **moves.outputs}), fed))
    return TrainGraph(
        graph=made,
        inputs=(*graph.inputs, TARGET, *moves.inputs(made, fed)),
        parameters=fed,
        trained=trained,
        state=moves.state,
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
    running = running_statistics(graph)
    wanted = [name for name in graph.parameters if name not in running]
    gradients = differentiate(builder, {cut: seed}, (*wanted, *filter(None, [hand_back])))
    outputs: dict[str, Value] = {}
    if hand_back is not None:
        outputs[cotangent_name(hand_back)] = gradients.pop(hand_back)
    fed = tuple(n for n in graph.parameters if n in gradients or n in running)
    moves = update(builder, fed, gradients, running, optimizer)
    made = _tidy(only_trainable(builder.finish(graph.name, {**outputs, **moves.outputs}), fed))
    return TrainGraph(
        graph=made,
        inputs=(*graph.inputs, seed.name, *moves.inputs(made, fed)),
        parameters=fed,
        trained=fed,
        state=moves.state,
        classes=None,
    )


def recomputing(made: TrainGraph) -> TrainGraph:
    """The same step with less held between its forward and its backward pass."""
    return dataclasses.replace(made, graph=run_passes(made.graph, RECOMPUTE_CHEAP, REMOVE_UNUSED))


def forward_part(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """The forward half of `backward_graph`, as in training, and what it is fed, in order."""
    made = _tidy(graph)
    seed = (SEED,) if SEED in made.inputs else ()
    return made, (*graph.inputs, *seed, *graph.parameters)


def evaluate_graph(graph: Graph, loss: Loss) -> Graph:
    """Outputs: the loss and, for a task with classes, the count of hits."""
    graph = run_passes(graph, FREEZE_BATCH_NORM, WITHOUT_DROPOUT)
    builder = Builder(graph)
    _, measured = _measured(builder, graph, loss)
    outputs = {LOSS: measured.loss}
    if measured.correct is not None:
        outputs[CORRECT] = measured.correct
    if measured.counted is not None:
        outputs[COUNTED] = measured.counted
    return _tidy(builder.finish(graph.name, outputs))


def _tidy(graph: Graph) -> Graph:
    return run_passes(
        graph, LOWER_DROPOUT, LOWER_BATCH_NORM, REMOVE_UNUSED, MERGE_EQUAL_NODES, REMOVE_UNUSED
    )
