"""Stages of progressive training (ProgFed, arXiv:2110.05323): a model and its shallower forms.

A chain or a residual network is cut behind a block and gets a temporary head; a U-Net loses its
inner levels and needs none. The last stage is the model itself. All stages share their parameters
by name.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.cuts import (
    Cut,
    Level,
    block_ends,
    bypass,
    choose_blocks,
    choose_cuts,
    cut_named,
    find_cuts,
    find_levels,
)
from edge_sdk.authoring.graph import Graph, needed_for
from edge_sdk.authoring.heads import add_head
from edge_sdk.authoring.losses import Loss
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.optimizers import Optimizer
from edge_sdk.authoring.passes import REMOVE_UNUSED, run_passes
from edge_sdk.authoring.training import Finish, TrainGraph, evaluate_graph, train_graph
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.plan import StageParts, WarmUpParts
from edge_sdk.plan.conventions import TARGET

Stages = int | Literal["auto"] | Sequence[str]
"""How many, or as many as are worth it, or the tensors to cut at by name."""

WHOLE = "all"
"""Name of the last stage."""

_MOST = 16
"""More stages than this help nobody."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """One form of the model."""

    name: str
    """The tensor it ends at, or `all`."""
    graph: Graph
    """Its parameters are those it needs, a temporary head's last."""


def make_stages(graph: Graph, wanted: Stages, *, seed: int = 0) -> tuple[Stage, ...]:
    """The stages of a model, smallest first, the model itself last.

    Args:
        graph: the forward graph.
        wanted: how many, `auto`, or the names of tensors to cut at (one less than stages).
        seed: of the temporary heads' weights.

    Raises:
        Misuse: a number or name is wrong.
        Unsupported: the model cannot be cut into so many, or no head fits.
    """
    boundaries = find_boundaries(graph, wanted)
    early = [_early(graph, boundary, n, seed) for n, boundary in enumerate(boundaries)]
    return (*early, Stage(WHOLE, graph))


def stage_parts(
    stages: Sequence[Stage],
    loss: Loss,
    optimizer: Optimizer,
    positions: Mapping[str, int],
    *,
    warm_up: bool,
    finish: Finish,
) -> list[StageParts]:
    """The graphs of every stage.

    Args:
        stages: smallest first.
        loss: what is minimised.
        optimizer: how gradients move weights.
        positions: of each parameter in the plan.
        warm_up: make warm-up graphs. Their own graphs rather than a flag or a learning rate for
            each weight, because only so the earlier blocks cost no backward pass.
        finish: last change to every train graph.
    """
    parts: list[StageParts] = []
    before: Sequence[str] | None = None
    for stage in stages:
        parameters = stage.graph.parameters
        new = [name for name in parameters if before is not None and name not in before]
        train = finish(train_graph(stage.graph, loss, optimizer))
        if set(train.parameters) != set(parameters):
            raise Unsupported(f"stage {stage.name}: some of its weights do not change the loss")
        parts.append(
            StageParts(
                name=stage.name,
                parameters=tuple(positions[name] for name in parameters),
                state=train.state,
                train=to_model(train.graph, inputs=train.inputs),
                evaluate=_evaluation(stage.graph, loss),
                warm_up=_warm_up(
                    finish(train_graph(stage.graph, loss, optimizer, only=new)), positions
                )
                if warm_up and new
                else None,
            )
        )
        before = list(parameters)
    return parts


def _evaluation(graph: Graph, loss: Loss) -> bytes:
    inputs = (*graph.inputs, TARGET, *graph.parameters)
    return to_model(evaluate_graph(graph, loss), inputs=inputs)


def _warm_up(made: TrainGraph, positions: Mapping[str, int]) -> WarmUpParts:
    return WarmUpParts(
        parameters=tuple(positions[name] for name in made.trained),
        state=made.state,
        train=to_model(made.graph, inputs=made.inputs),
    )


def find_boundaries(graph: Graph, wanted: Stages) -> Sequence[Cut | Level]:
    """Where all stages but the last end; arguments and errors as `make_stages`."""
    levels = usable_levels(graph)
    if not isinstance(wanted, int | str):
        return _named(graph, levels, wanted)
    if wanted != "auto" and not (isinstance(wanted, int) and 1 <= wanted <= _MOST):
        raise Misuse(f"stages {wanted!r}; give a number from 1 to {_MOST}, `auto`, or tensor names")
    found: Sequence[Cut | Level] = levels or block_ends(graph, find_cuts(graph))
    if isinstance(wanted, int):
        return choose_cuts(found, wanted)
    return choose_blocks(graph, found)


def _named(graph: Graph, levels: Sequence[Level], names: Sequence[str]) -> Sequence[Cut | Level]:
    """Boundaries by name, in the order of the model."""
    if not names or len(set(names)) < len(names) or len(names) >= _MOST:
        raise Misuse(f"{len(names)} cuts; name each once, at most {_MOST - 1}")
    by_way_in = {level.way_in: level for level in levels}
    if all(name in by_way_in for name in names):
        return tuple(level for level in levels if level.way_in in names)
    cuts = find_cuts(graph)
    chosen = {cut_named(cuts, name) for name in names}
    return tuple(cut for cut in cuts if cut in chosen)


def _early(graph: Graph, boundary: Cut | Level, number: int, seed: int) -> Stage:
    if isinstance(boundary, Level):
        shallow = _only_needed(bypass(graph, boundary.way_in, boundary.way_out))
        return Stage(boundary.way_in, shallow)
    return Stage(boundary.name, _under_head(graph, boundary.name, number, seed))


def _under_head(graph: Graph, cut: str, number: int, seed: int) -> Graph:
    (output,) = graph.outputs
    front = _only_needed(
        dataclasses.replace(graph, nodes=needed_for(graph.nodes, [cut]), outputs=(cut,))
    )
    builder = Builder(front)
    name = _free(graph, f"stage{number}.head")
    answer = add_head(builder.value(cut), graph.types[output], name=name, seed=seed + number)
    made = builder.finish(graph.name, {f"{name}.output": answer})
    if made.types[made.outputs[0]] != graph.types[output]:
        raise Unsupported(
            f"the head at {cut} gives {made.types[made.outputs[0]]}, "
            f"the model {graph.types[output]}; choose other cuts"
        )
    return made


def _free(graph: Graph, name: str) -> str:
    """`name`, with underscores until no value of the model begins so."""
    while any(known.startswith(f"{name}.") for known in graph.types):
        name += "_"
    return name


def _only_needed(graph: Graph) -> Graph:
    """The graph without what its outputs do not need, parameters included."""
    graph = run_passes(graph, REMOVE_UNUSED)
    read = {name for node in graph.nodes for name in node.inputs}
    dropped = graph.parameters.keys() - read
    return dataclasses.replace(
        graph,
        parameters={name: a for name, a in graph.parameters.items() if name in read},
        types={name: kind for name, kind in graph.types.items() if name not in dropped},
    )


def usable_levels(graph: Graph) -> tuple[Level, ...]:
    """Levels of a model that answers at every pixel; others are cut as chains."""
    return find_levels(graph) if len(graph.types[graph.outputs[0]].shape or ()) >= 4 else ()
