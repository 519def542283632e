"""Keep some weights as they are: they become constants and cost no backward pass."""

import re

from edge_sdk.authoring.graph import Graph
from edge_sdk.authoring.passes import TRAIN_BATCH_NORM, run_passes, running_statistics
from edge_sdk.authoring.training import only_trainable
from edge_sdk.errors import Misuse


def freeze(graph: Graph, pattern: str) -> Graph:
    """The graph with every parameter whose name `pattern` matches made a constant.

    A batch normalisation whose scale or shift is frozen keeps its running statistics too: a frozen
    layer computes the same for every batch.

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
    if set(kept) <= set(running_statistics(graph)):
        raise Misuse(f"freeze {pattern!r} matches every weight: nothing is left to train")
    still = set(graph.parameters).difference(kept)
    for node in graph.nodes:
        if node.op == "BatchNormalization" and still.intersection(node.inputs[1:]):
            still.update(node.inputs[3:5])
    left = only_trainable(graph, tuple(name for name in kept if name not in still))
    return run_passes(left, TRAIN_BATCH_NORM)  # normalisations without statistics go back
