"""Make room for the names that train and evaluation graphs give meaning to."""

import dataclasses

from edge_sdk.authoring.graph import Graph
from edge_sdk.authoring.optimizers import STATE_SUFFIXES, STEP_COUNT
from edge_sdk.authoring.passes.kind import Pass
from edge_sdk.plan.conventions import (
    APPLY,
    CORRECT,
    CORRECTION_SUFFIX,
    COTANGENT_SUFFIX,
    COUNTED,
    LEARNING_RATE,
    LOSS,
    NEW_SUFFIX,
    PROXIMITY,
    SEED,
    SHARE,
    START_SUFFIX,
    TARGET,
)

RESERVED = frozenset(
    {APPLY, CORRECT, COUNTED, LEARNING_RATE, LOSS, PROXIMITY, SEED, SHARE, STEP_COUNT, TARGET}
)
SUFFIXES = (NEW_SUFFIX, COTANGENT_SUFFIX, START_SUFFIX, CORRECTION_SUFFIX, *STATE_SUFFIXES)


def is_reserved(name: str) -> bool:
    """Whether a model's own value may not be called so."""
    return name in RESERVED or name.endswith(SUFFIXES)


def free_reserved_names(graph: Graph) -> Graph:
    """Rename the model's own values that are called like ours: an underscore is appended."""
    taken = set(graph.types)
    other: dict[str, str] = {}
    for name in sorted(filter(is_reserved, taken)):
        fresh = name + "_"
        while fresh in taken:
            fresh += "_"
        taken.add(fresh)
        other[name] = fresh
    if not other:
        return graph

    def new(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(other.get(name, name) for name in names)

    return dataclasses.replace(
        graph,
        inputs=new(graph.inputs),
        outputs=new(graph.outputs),
        nodes=tuple(
            dataclasses.replace(node, inputs=new(node.inputs), outputs=new(node.outputs))
            for node in graph.nodes
        ),
        types={other.get(name, name): kind for name, kind in graph.types.items()},
        parameters={other.get(name, name): a for name, a in graph.parameters.items()},
        constants={other.get(name, name): a for name, a in graph.constants.items()},
    )


def _none_left(graph: Graph) -> bool:
    return not any(map(is_reserved, graph.types))


FREE_RESERVED_NAMES = Pass(
    "free reserved names",
    free_reserved_names,
    ensures=(("no value of the model has a reserved name", _none_left),),
)
