"""The one backward walk: sums cotangents per value, undoes broadcasting, stops where it may."""

from collections.abc import Mapping, Sequence

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.table import RULES
from edge_sdk.authoring.graph import Graph, Node, depending_on, needed_for
from edge_sdk.errors import Unsupported


def differentiate(
    builder: Builder, seeds: Mapping[str, Value], wanted: Sequence[str]
) -> dict[str, Value]:
    """Append the backward pass of what stands in `builder`.

    Args:
        builder: holds the forward nodes; gets the backward ones.
        seeds: cotangents to start from, by the value they belong to.
        wanted: values whose cotangent is asked for: parameters, inputs or intermediates.

    Returns:
        Cotangents by name, of the same type and shape as their value. A wanted value that no
        seed depends on is left out.

    Raises:
        Unsupported: a node between `wanted` and `seeds` has no rule, or its rule not this case.
    """
    forward = needed_for(builder.nodes, seeds)
    active = frozenset(depending_on(forward, wanted, through=builder.types))
    collected: dict[str, list[Value]] = {}
    for name, seed in seeds.items():
        if name in active:
            collected[name] = [seed]
    for node in reversed(forward):
        cotangents = tuple(_total(collected.get(output, ())) for output in node.outputs)
        if any(cotangents) and active.intersection(node.inputs):
            call = Call(builder, node, cotangents, active)
            for name, cotangent in _back(call):
                collected.setdefault(name, []).append(cotangent)
    totals = {name: _total(collected.get(name, ())) for name in wanted}
    return {name: total for name, total in totals.items() if total is not None}


def trainable(graph: Graph) -> tuple[str, ...]:
    """Parameters that enter a float computation of the outputs other than as a setting."""
    used: set[str] = set()
    for node in needed_for(graph.nodes, graph.outputs):
        rule = RULES.get(node.op)
        settings = rule.fixed if rule else frozenset()
        used.update(name for i, name in enumerate(node.inputs) if i not in settings)
    return tuple(name for name in graph.parameters if name in used)


def _back(call: Call) -> list[tuple[str, Value]]:
    """Cotangents that one node hands to its inputs."""
    node, builder = call.node, call.builder
    rule = _rule(node)
    unknown = [n for n in (*node.inputs, *node.outputs) if n and builder.types[n].shape is None]
    if unknown:
        raise call.unsupported(f"the number of axes of {unknown[0]!r} is not known")
    if any(call.cotangents[1:]) and not rule.every_output:
        raise call.unsupported("the loss depends on a secondary output")
    handed = []
    for index, cotangent in enumerate(rule.gradient(call)):
        if cotangent is not None and call.wants(index) and index not in rule.fixed:
            name = node.inputs[index]
            handed.append((name, _undo_broadcast(call, cotangent, builder.value(name))))
    return handed


def _rule(node: Node) -> Rule:
    rule = RULES.get(node.op)
    if rule is None:
        raise Unsupported(
            f"{node}: operator {node.op} has no gradient rule; keep trainable weights behind it, "
            "replace it by operators that have one, or freeze what stands before it"
        )
    return rule


def _total(cotangents: Sequence[Value]) -> Value | None:
    """Sum of what reached one value."""
    if len(cotangents) < 2:
        return cotangents[0] if cotangents else None
    if len(cotangents) == 2:
        return cotangents[0] + cotangents[1]
    return cotangents[0].builder.op("Sum", *cotangents)


def _undo_broadcast(call: Call, cotangent: Value, primal: Value) -> Value:
    """Sum `cotangent` over the axes along which `primal` was repeated."""
    extra = cotangent.rank - primal.rank
    if extra < 0:
        raise call.unsupported("its rule gave a cotangent of too few axes")
    if extra:
        cotangent = cotangent.sum(*range(extra))
    repeated = [
        axis
        for axis, (size, wide) in enumerate(zip(primal.shape, cotangent.shape, strict=True))
        if size == 1 and wide != 1
    ]
    if repeated:
        cotangent = cotangent.sum(*repeated, keepdims=True)
    if None in primal.shape or cotangent.shape != primal.shape:
        _check_same(call, cotangent, primal)
    return cotangent


def _check_same(call: Call, cotangent: Value, primal: Value) -> None:
    """Two open sizes may differ at run time only if one is 1, which nothing here can tell."""
    for mine, its in zip(cotangent.shape, primal.shape, strict=True):
        both_known = isinstance(mine, int) and isinstance(its, int)
        if (both_known and mine != its) or (isinstance(its, str) and isinstance(mine, int)):
            raise call.unsupported(f"cotangent {cotangent.type} of a value {primal.type}")
