"""Split a model at one or two tensors into parts that run in different places.

A part that stands before a cut gets two graphs: forward, and one update from the cut's cotangent,
which runs the part forward again rather than keep its inner values (a second forward pass for a
stateless device and the memory of one graph at a time). The last part gets one training step that
also hands back the cotangent of what it read. In exact arithmetic the parts together make the very
step of the whole model.
"""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.cost import kept_of
from edge_sdk.authoring.cuts import Cut, block_ends, choose_split, cut_named, find_cuts
from edge_sdk.authoring.graph import Array, Dimension, Graph, Node, Type, needed_for
from edge_sdk.authoring.losses import Loss
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.optimizers import Optimizer
from edge_sdk.authoring.passes import REMOVE_UNUSED, run_passes
from edge_sdk.authoring.training import (
    Finish,
    TrainGraph,
    backward_graph,
    forward_part,
    train_graph,
)
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.plan import PartGraphs, SplitParts, TensorSpec
from edge_sdk.plan.conventions import BATCH_AXIS

AUTOMATIC = "auto"


def make_split(
    graph: Graph,
    loss: Loss,
    optimizer: Optimizer,
    cuts: Sequence[str],
    positions: Mapping[str, int],
    *,
    finish: Finish,
) -> SplitParts:
    """Graphs of all parts.

    Args:
        graph: the forward graph; every parameter of it is trained.
        loss: what is minimised.
        optimizer: how gradients move weights; each part keeps its own state.
        cuts: one or two tensors, or `auto` for the first.
        positions: of each parameter in the plan.
        finish: last change to every graph that updates.

    Raises:
        Misuse: the model cannot be cut at one of `cuts`.
        Unsupported: two parts would share a parameter.
    """
    chosen = _chosen(graph, cuts)
    parts = _parts(graph, [cut.name for cut in chosen])
    made: list[PartGraphs] = []
    for number, part in enumerate(parts):
        back = chosen[number - 1].name if number else None
        if number == len(parts) - 1:
            step = finish(train_graph(part, loss, optimizer, hand_back=back))
            made.append(_part(step, positions, to_model(step.graph, inputs=step.inputs)))
            continue
        update = finish(backward_graph(part, optimizer, hand_back=back))
        forward, fed = forward_part(part)
        graphs = (to_model(forward, inputs=fed), to_model(update.graph, inputs=update.inputs))
        made.append(_part(update, positions, *graphs))
    kept = tuple(kept_of(part.nodes, part.types) for part in parts)
    return SplitParts(cuts=tuple(map(_spec, chosen)), parts=tuple(made), kept=kept)


def _chosen(graph: Graph, names: Sequence[str]) -> tuple[Cut, ...]:
    if not 1 <= len(names) <= 2:
        raise Misuse(f"{len(names)} cuts; a model is split at one or two tensors")
    cuts = find_cuts(graph, for_split=True)
    if list(names) == [AUTOMATIC]:
        return (choose_split(graph, block_ends(graph, cuts)),)
    chosen = tuple(cut_named(cuts, name) for name in names)
    if any(a.parameters >= b.parameters for a, b in itertools.pairwise(chosen)):
        raise Misuse(f"cut {names[1]!r} does not stand behind trained weights after {names[0]!r}")
    return chosen


def _parts(graph: Graph, cuts: Sequence[str]) -> list[Graph]:
    """The model between one cut and the next."""
    starts, ends = [None, *cuts], [*cuts, graph.outputs[0]]
    parts = [_between(graph, start, end) for start, end in zip(starts, ends, strict=True)]
    owner: dict[str, int] = {}
    for number, part in enumerate(parts):
        for name in part.parameters:
            if owner.setdefault(name, number) != number:
                raise Unsupported(
                    f"weight {name!r} is used on both sides of {cuts[number - 1]!r}; "
                    "split elsewhere"
                )
    return parts


def _between(graph: Graph, start: str | None, end: str) -> Graph:
    """The nodes that lead from `start` (the model's input where None) to `end`."""
    inputs = graph.inputs if start is None else (start,)
    nodes = needed_for((n for n in graph.nodes if start not in n.outputs), [end])
    if start is not None:
        graph, nodes = _batch_size_from(graph, nodes, start)
    read = {name for node in nodes for name in node.inputs}
    parameters = {name: a for name, a in graph.parameters.items() if name in read}
    known = {*inputs, *parameters, *graph.constants, *(o for n in nodes for o in n.outputs)}
    part = dataclasses.replace(
        graph,
        inputs=inputs,
        outputs=(end,),
        nodes=nodes,
        parameters=parameters,
        types={name: kind for name, kind in graph.types.items() if name in known},
    )
    return run_passes(part, REMOVE_UNUSED)


def _batch_size_from(
    graph: Graph, nodes: Sequence[Node], start: str
) -> tuple[Graph, tuple[Node, ...]]:
    """Let nodes that ask an earlier value for its shape ask `start`, which has the same batch."""
    inner = {start, *(name for node in nodes if node.op != "Shape" for name in node.outputs)}
    builder = Builder(dataclasses.replace(graph, nodes=()))
    for node in nodes:
        if node.op == "Shape" and node.inputs[0] not in inner:
            _write_shape(builder, node, graph.types[node.inputs[0]], start)
        else:
            builder.nodes.append(node)
    made = dataclasses.replace(
        graph, types=dict(builder.types), constants=dict[str, Array](builder.constants)
    )
    return made, needed_for(builder.nodes, [n for node in nodes for n in node.outputs if n])


def _write_shape(builder: Builder, node: Node, kind: Type, start: str) -> None:
    """The shape of a value that is not here, of which only the batch axis is open."""
    first, end = node.attributes.get("start", 0), node.attributes.get("end", None)
    sizes: tuple[Dimension, ...] = ()
    if isinstance(first, int) and (end is None or isinstance(end, int)):
        sizes = (kind.shape or ())[first:end]
    if sizes[:1] != (BATCH_AXIS,) or not all(isinstance(size, int) for size in sizes[1:]):
        raise Unsupported(f"{node}: asks for a shape {kind} from the other side of a cut")
    batch = builder.op("Shape", builder.value(start), start=0, end=1)
    rest = builder.constant(np.array(sizes[1:], np.int64))
    builder.op("Concat", batch, rest, axis=0, named=node.outputs[0])


def _part(made: TrainGraph, positions: Mapping[str, int], *graphs: bytes) -> PartGraphs:
    return PartGraphs(
        parameters=tuple(positions[name] for name in made.parameters),
        state=made.state,
        graphs=graphs,
    )


def _spec(cut: Cut) -> TensorSpec:
    shape = tuple(size for size in (cut.type.shape or ())[1:] if isinstance(size, int))
    return TensorSpec(name=cut.name, dtype="float32", shape=shape)
