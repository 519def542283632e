"""Where a model can be cut: tensors that everything passes, and levels of a U-net.

A *cut* is a value without which nothing reaches the output: in a chain each layer's output, in a
residual network the outputs of blocks. A *level* is a pair of values of one type, the outer way in
and the outer way out of everything deeper; putting the first in place of the second leaves a
shallower network of the same form, which is how a U-net grows.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from edge_sdk.authoring.cost import compute_of, elements_of
from edge_sdk.authoring.graph import Graph, Node, Type, needed_for
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.plan.conventions import BATCH_AXIS

_SHAPE_ONLY = frozenset({"Shape", "Size"})
"""What they give depends on sizes alone, not on data."""

_REARRANGED = frozenset(
    {"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators whose output is a poorer place to cut than their input: the layout is lost."""

_LIGHT = frozenset(
    {"Add", "BatchNormalization", "Celu", "Clip", "Div", "Dropout", "Elu", "Erf", "Gelu",
     "GroupNormalization", "HardSigmoid", "HardSwish", "InstanceNormalization",
     "LayerNormalization", "LeakyRelu", "Mish", "Mul", "PRelu", "Relu", "Selu", "Sigmoid",
     "Softplus", "Sub", "Tanh"}
)  # fmt: skip
"""Operators that belong to the layer in front of them: no block ends before one."""

MOST_AUTOMATIC_STAGES = 4


class Boundary(Protocol):
    """Where a block ends."""

    @property
    def parameters(self) -> frozenset[str]:
        """What is needed up to here."""
        ...

    @property
    def compute(self) -> float:
        """Share of the model's multiply-adds up to here."""
        ...


B = TypeVar("B", bound=Boundary)


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """A value that everything passes."""

    name: str
    type: Type
    parameters: frozenset[str]
    """What is needed up to here."""
    compute: float
    """Share of the model's multiply-adds up to here."""

    @property
    def elements(self) -> int:
        """Of one example's activation."""
        return elements_of(self.type)


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """A pair of values with everything deeper between them."""

    way_in: str
    way_out: str
    parameters: frozenset[str]
    """What the network needs when the level is bypassed."""
    compute: float
    """Share of the model's multiply-adds that is left then."""


def find_cuts(graph: Graph, *, for_split: bool = False) -> tuple[Cut, ...]:
    """All cuts behind the first parameter and before the last, in order.

    Args:
        graph: a forward graph with one output.
        for_split: count every path from the input. Else only paths that carry something learned
            count: a mask made from the input may go round a cut.
    """
    data = _reached(graph.nodes, graph.inputs)
    learned = data if for_split else data & _reached(graph.nodes, graph.parameters)
    last_use = {name: at for at, node in enumerate(graph.nodes) for name in node.inputs}
    last_use |= dict.fromkeys(graph.outputs, len(graph.nodes))
    crossing = {name for name in graph.inputs if name in learned}
    cuts: list[Cut] = []
    total = max(1, compute_of(graph.nodes, graph.types))
    for at, node in enumerate(graph.nodes):
        crossing |= {name for name in node.outputs if name in learned}
        crossing -= {name for name in crossing if last_use.get(name, -1) <= at}
        name = next(iter(crossing), "")
        if len(crossing) == 1 and name in node.outputs and _can_cut(graph.types[name], for_split):
            before = needed_for(graph.nodes, [name])
            parameters = _parameters(graph, before)
            if parameters and parameters != graph.parameters.keys():
                share = compute_of(before, graph.types) / total
                cuts.append(Cut(name, graph.types[name], parameters, share))
    return tuple(cuts)


def block_ends(graph: Graph, cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """Of the cuts with the same parameters before them, the best: smallest, then latest.

    None that parts a layer from its normalisation or activation.
    """
    readers: dict[str, list[str]] = {}
    for node in graph.nodes:
        for name in set(node.inputs):
            readers.setdefault(name, []).append(node.op)
    cuts = [cut for cut in cuts if len(readers[cut.name]) > 1 or readers[cut.name][0] not in _LIGHT]
    made_by = {name: node.op for node in graph.nodes for name in node.outputs}
    best: dict[frozenset[str], Cut] = {}
    for cut in cuts:
        rival = best.get(cut.parameters)
        if rival is None or (
            cut.elements <= rival.elements
            and not (cut.elements == rival.elements and made_by[cut.name] in _REARRANGED)
        ):
            best[cut.parameters] = cut
    return tuple(best.values())


def find_levels(graph: Graph) -> tuple[Level, ...]:
    """Levels nested in each other, outermost first; empty where the model is no U-net."""
    consumers: dict[str, int] = {}
    for node in graph.nodes:
        for name in set(node.inputs):
            consumers[name] = consumers.get(name, 0) + 1
    learned = _reached(graph.nodes, graph.inputs) & _reached(graph.nodes, graph.parameters)
    total = max(1, compute_of(graph.nodes, graph.types))
    levels: list[Level] = []
    inside = list(graph.nodes)
    for node in graph.nodes:
        name = node.outputs[0]
        if consumers.get(name, 0) < 2 or name not in learned or node not in inside:
            continue
        way_out = _way_out(graph, name, inside)
        if way_out is None:
            continue
        kept = bypass(graph, name, way_out).nodes
        parameters = _parameters(graph, kept)
        if parameters < _parameters(graph, graph.nodes) and parameters:
            share = compute_of(kept, graph.types) / total
            levels.append(Level(name, way_out, parameters, share))
            start = graph.nodes.index(node)
            end = next(i for i, n in enumerate(graph.nodes) if way_out in n.outputs)
            inside = list(graph.nodes[start + 1 : end])
    return tuple(levels) if len(levels) > 1 else ()


def bypass(graph: Graph, way_in: str, way_out: str) -> Graph:
    """The graph with one value in place of another, and without what only led to that."""

    def swapped(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(way_in if name == way_out else name for name in names)

    outputs = swapped(graph.outputs)
    nodes = (dataclasses.replace(node, inputs=swapped(node.inputs)) for node in graph.nodes)
    return dataclasses.replace(graph, nodes=needed_for(nodes, outputs), outputs=outputs)


def choose_cuts(cuts: Sequence[B], blocks: int) -> tuple[B, ...]:
    """The `blocks - 1` boundaries whose largest block computes least.

    Compute, not parameters, is balanced: those of an image network stand at its end, so balancing
    them would put nearly all layers into the first block, and early stages would save little of
    either. On ResNet-18 this gives the cuts of ProgFed (arXiv:2110.05323), layer1 to layer4.
    """
    best: dict[tuple[int, int], tuple[float, tuple[B, ...]]] = {}
    for count in range(blocks):
        for at in range(len(cuts) + 1):
            end = cuts[at].compute if at < len(cuts) else 1.0
            if count == 0:
                best[0, at] = (end, ())
                continue
            options = [
                (
                    max(best[count - 1, b][0], end - cuts[b].compute),
                    (*best[count - 1, b][1], cuts[b]),
                )
                for b in range(at)
                if (count - 1, b) in best
            ]
            if options:
                best[count, at] = min(options, key=lambda option: option[0])
    found = best.get((blocks - 1, len(cuts)))
    if found is None:
        raise Unsupported(f"the model can be cut at {len(cuts)} places, not into {blocks} stages")
    return found[1]


def choose_blocks(graph: Graph, cuts: Sequence[B]) -> tuple[B, ...]:
    """Boundaries of as many blocks, up to four, as are worth a stage; none in too small a model.

    A block is worth a stage if it holds at least half of an even share of the multiply-adds or of
    the parameters.
    """
    for blocks in range(min(MOST_AUTOMATIC_STAGES, len(cuts) + 1), 1, -1):
        chosen = choose_cuts(cuts, blocks)
        compute = _steps([cut.compute for cut in chosen])
        sizes = _steps([_share(graph, cut.parameters) for cut in chosen])
        if all(max(pair) >= 1 / (2 * blocks) for pair in zip(compute, sizes, strict=True)):
            return chosen
    return ()


def cut_named(cuts: Sequence[Cut], name: str) -> Cut:
    """The cut at the tensor of that name.

    Raises:
        Misuse: nothing can be cut there; the text lists where it can.
    """
    found = next((cut for cut in cuts if cut.name == name), None)
    if found is None:
        known = ", ".join(cut.name for cut in cuts[:12]) or "nowhere"
        raise Misuse(f"the model cannot be cut at {name!r}; it can at: {known}")
    return found


def choose_split(graph: Graph, cuts: Sequence[Cut]) -> Cut:
    """The smallest activation behind a front with at most a quarter of the parameters.

    Where every front holds more, the one that holds least.

    Raises:
        Unsupported: there is no cut.
    """
    if not cuts:
        raise Unsupported("the model cannot be split: no single tensor separates its parameters")
    light = [cut for cut in cuts if _share(graph, cut.parameters) <= 0.25]
    if light:
        return min(reversed(light), key=lambda cut: cut.elements)
    return min(cuts, key=lambda cut: _share(graph, cut.parameters))


def _share(graph: Graph, names: frozenset[str]) -> float:
    sizes = {name: array.size for name, array in graph.parameters.items()}
    return sum(sizes[name] for name in names) / max(1, sum(sizes.values()))


def _steps(shares: Sequence[float]) -> list[float]:
    """Of each block, from the shares at the cuts."""
    return [after - before for before, after in zip([0.0, *shares], [*shares, 1.0], strict=True)]


def _can_cut(kind: Type, for_split: bool) -> bool:
    """Batch first, all else known, at least one axis of features.

    A stage may also end at a sequence with time first, batch second, as recurrent layers have it.
    """
    shape = kind.shape or ()
    fixed = [isinstance(size, int) for size in shape]
    batch_first = fixed[:1] == [False] and len(shape) > 1 and all(fixed[1:])
    time_first = fixed == [True, False, True] and not for_split
    return kind.is_float and BATCH_AXIS in shape and (batch_first or time_first)


def _reached(nodes: Iterable[Node], roots: Iterable[str]) -> set[str]:
    """Values whose content depends on that of `roots`."""
    reached = set(roots)
    for node in nodes:
        if node.op not in _SHAPE_ONLY and reached.intersection(node.inputs):
            reached.update(name for name in node.outputs if name)
    return reached


def _parameters(graph: Graph, nodes: Sequence[Node]) -> frozenset[str]:
    read = {name for node in nodes for name in node.inputs}
    return frozenset(read.intersection(graph.parameters))


def _way_out(graph: Graph, way_in: str, inside: Sequence[Node]) -> str | None:
    """The last value of the same type that all paths from `way_in` pass and nothing else feeds.

    None where there is none.
    """
    elsewhere = _reached_around(graph, graph.inputs, way_in)
    for node in reversed(inside):
        name = node.outputs[0]
        if (
            name != way_in
            and graph.types[name] == graph.types[way_in]
            and name not in elsewhere
            and name in _reached(graph.nodes, [way_in])
            and not set(graph.outputs) & _reached_around(graph, [way_in], name)
        ):
            return name
    return None


def _reached_around(graph: Graph, roots: Sequence[str], wall: str) -> set[str]:
    """What depends on `roots` on paths that do not pass `wall`."""
    return _reached([node for node in graph.nodes if wall not in node.outputs], roots)
