"""What a pass is."""

import dataclasses
from collections.abc import Callable

from edge_sdk.authoring.graph import Graph

Condition = tuple[str, Callable[[Graph], bool]]
"""A sentence and how to test it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pass:
    """A transformation with its contract."""

    name: str
    run: Callable[[Graph], Graph]
    requires: tuple[Condition, ...] = ()
    """Must hold before."""
    ensures: tuple[Condition, ...] = ()
    """Holds afterwards."""


def well_formed(graph: Graph) -> bool:
    """Every value is written once, before it is read, and has a type."""
    known = {"", *graph.inputs, *graph.parameters, *graph.constants}
    for node in graph.nodes:
        made = [name for name in node.outputs if name]
        if not known.issuperset(node.inputs) or known.intersection(made):
            return False
        known.update(made)
    return known.issuperset(graph.outputs) and graph.types.keys() >= known - {""}


SOUND: Condition = ("every value is written once, before it is read, and has a type", well_formed)


def run_passes(graph: Graph, *passes: Pass) -> Graph:
    """`graph` after all `passes`, in order, every contract checked.

    Raises:
        AssertionError: a contract is broken, which is a fault of this package.
    """
    for step in passes:
        _check(f"{step.name} requires", graph, (SOUND, *step.requires))
        graph = step.run(graph)
        _check(f"{step.name} ensures", graph, (SOUND, *step.ensures))
    return graph


def _check(who: str, graph: Graph, conditions: tuple[Condition, ...]) -> None:
    for sentence, holds in conditions:
        if not holds(graph):
            raise AssertionError(f"{who}: {sentence}")
