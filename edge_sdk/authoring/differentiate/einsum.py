"""The rule for Einsum: each operand's cotangent is an Einsum again."""

import string
from collections.abc import Sequence

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def einsum(call: Call) -> Cotangents:
    """Put the output in the operand's place and the operand's letters behind the arrow.

    Letters that only the operand has were summed over: its cotangent is repeated along them. A
    letter that stands twice in the operand took the diagonal: a unit matrix puts it back.
    """
    terms, output = _spelled_out(call)
    cotangents: list[Value | None] = []
    for index, term in enumerate(terms):
        others = [(other, call.x(i)) for i, other in enumerate(terms) if i != index]
        made = _cotangent(call, index, term, [(output, call.dy), *others])
        cotangents.append(made if call.wants(index) else None)
    return cotangents


def _cotangent(call: Call, index: int, term: str, known: list[tuple[str, Value]]) -> Value:
    """Einsum of what is known to the letters of one operand."""
    x, builder = call.x(index), call.builder
    free = iter(sorted(set(string.ascii_letters) - set(term).union(*(t for t, _ in known))))
    wanted = ""
    for axis, letter in enumerate(term):
        if letter in wanted:  # the diagonal: a letter of its own, tied to the first
            twin = next(free)
            size = call.fixed(x, axis)
            known = [*known, (letter + twin, builder.constant(np.eye(size, dtype=x.type.dtype)))]
            letter = twin  # noqa: PLW2901 - what the axis is called from here on
        wanted += letter
    present = set().union(*(t for t, _ in known))
    for axis, letter in enumerate(wanted):
        if letter not in present:
            ones = _ones(call, x, axis)
            known = [*known, (letter, ones)]
    equation = ",".join(t for t, _ in known) + "->" + wanted
    return builder.op("Einsum", *(value for _, value in known), equation=equation)


def _ones(call: Call, x: Value, axis: int) -> Value:
    """Ones for each position of one axis."""
    size = call.fixed(x, axis)
    return call.builder.constant(np.ones(size, x.type.dtype))


def _spelled_out(call: Call) -> tuple[list[str], str]:
    """Letters of each operand and of the output, without dots and with an arrow."""
    equation = call.text("equation", "").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    free = sorted(set(string.ascii_letters) - set(left))
    if not arrow:
        letters = left.replace(",", "").replace(".", "")
        once = sorted(letter for letter in set(letters) if letters.count(letter) == 1)
        right = ("..." if "..." in left else "") + "".join(once)
    extra = [call.x(i).rank - len(t.replace("...", "")) for i, t in enumerate(terms)]
    dots = free[: max(extra, default=0)]
    spelled = [
        term.replace("...", "".join(dots[len(dots) - more :]))
        for term, more in zip(terms, extra, strict=True)
    ]
    for index, term in enumerate(spelled):
        if any(call.x(index).shape[axis] == 1 for axis, le in enumerate(term) if le in dots):
            raise call.unsupported("broadcasting within '...'; expand first")
    return spelled, right.replace("...", "".join(dots))


RULES = {"Einsum": Rule(einsum)}
