"""Keep some weights as they are: they become constants and cost no backward pass."""

import re

from edge_sdk.authoring.graph import Graph
from edge_sdk.authoring.training import only_trainable
from edge_sdk.errors import Misuse


def freeze(graph: Graph, pattern: str) -> Graph:
    """The graph with every parameter whose name `pattern` matches made a constant.

    Args:
        graph: the forward graph.
        pattern: regular expression, searched anywhere in the name (`^conv` for a beginning).

    Raises:
        Misuse: no regular expression, or it matches no parameter or all of them.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise Misuse(f"freeze {pattern!r} is no regular expression: {error}") from error
    kept = tuple(name for name in graph.parameters if not expression.search(name))
    if len(kept) == len(graph.parameters):
        some = ", ".join(list(graph.parameters)[:8])
        raise Misuse(f"freeze {pattern!r} matches no weight; there are {some}")
    if not kept:
        raise Misuse(f"freeze {pattern!r} matches every weight: nothing is left to train")
    return only_trainable(graph, kept)
