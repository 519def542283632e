"""From gradients to new weights and new state: everything of a train graph after backward.

In this order: gathering over small batches, further terms of the objective, clipping, the
optimizer's step. What each needs becomes an input of the graph (see `plan.conventions`).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.graph import Graph, Type
from edge_sdk.authoring.optimizers import GATHERED, STEP_COUNT, Moment, Optimizer
from edge_sdk.plan.conventions import (
    APPLY,
    CORRECTION_SUFFIX,
    LEARNING_RATE,
    PROXIMITY,
    SEED,
    SHARE,
    START_SUFFIX,
    new_name,
)
from edge_sdk.values import Parameter

_SCALAR = Type(np.dtype(np.float32), ())
_CLIP_EPSILON = 1e-6
"""Beside the norm, as in PyTorch: an all-zero gradient stays one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Update:
    """What updating adds to a graph."""

    outputs: Mapping[str, Value]
    """New parameters, then new state."""
    state: tuple[Parameter, ...]
    settings: tuple[str, ...]
    """Inputs that say how to step."""
    beside: tuple[str, ...]
    """Inputs of a weight's shape that are neither weight nor state."""

    def inputs(self, graph: Graph, fed: Sequence[str]) -> tuple[str, ...]:
        """Inputs of the finished graph after input and target, `fed` being the parameters."""
        seed = (SEED,) if SEED in graph.inputs else ()
        return (*self.settings, *seed, *fed, *(p.name for p in self.state), *self.beside)


def update(
    builder: Builder,
    names: Sequence[str],
    gradients: Mapping[str, Value],
    running: Mapping[str, str],
    optimizer: Optimizer,
) -> Update:
    """Move every parameter.

    Args:
        builder: holds the graph; gets inputs and nodes.
        names: the parameters, in layout order.
        gradients: of those that `optimizer` moves.
        running: of the others, the value that each becomes.
        optimizer: the rule and what goes with it.
    """
    return _Writer(builder, optimizer).write(names, gradients, running)


class _Writer:
    """One update under construction."""

    def __init__(self, builder: Builder, optimizer: Optimizer) -> None:
        self._builder = builder
        self._optimizer = optimizer
        self._settings: list[str] = []
        self._beside: list[str] = []
        self._state: list[Parameter] = []
        self._new_state: dict[str, Value] = {}
        rate = self._setting(LEARNING_RATE)
        self._mu = self._setting(PROXIMITY) if optimizer.proximal else None
        self._share = self._setting(SHARE) if optimizer.accumulate else None
        flag = Type(np.dtype(np.bool_), ())
        self._apply = self._setting(APPLY, flag) if optimizer.accumulate else None
        self._moment = Moment(rate, self._counted() if optimizer.counts else None)

    def write(
        self, names: Sequence[str], gradients: Mapping[str, Value], running: Mapping[str, str]
    ) -> Update:
        ready = {name: self._ready(name, gradients[name]) for name in names if name in gradients}
        ready = self._clipped(ready)
        outputs: dict[str, Value] = {}
        for name in names:
            moved = self._moved(name, ready[name]) if name in ready else None
            outputs[new_name(name)] = moved or self._builder.value(running[name])
        return Update(
            {**outputs, **{new_name(n): self._new_state[n] for n in self._new_state}},
            tuple(self._state),
            tuple(self._settings),
            tuple(self._beside),
        )

    def _ready(self, name: str, gradient: Value) -> Value:
        """The gradient of the whole step's objective."""
        builder, weight = self._builder, self._builder.value(name)
        if self._share is not None:
            gathered = self._state_of(name + GATHERED, weight.type)
            gradient = gathered + gradient * self._share
            zero = builder.constant(np.zeros((), weight.type.dtype))
            self._new_state[name + GATHERED] = self._if_applied(zero, gradient)
        if self._mu is not None:
            start = self._input_beside(name + START_SUFFIX, weight.type)
            gradient = gradient + (weight - start) * self._mu
        if self._optimizer.correction:
            gradient = gradient + self._input_beside(name + CORRECTION_SUFFIX, weight.type)
        return gradient

    def _clipped(self, gradients: dict[str, Value]) -> dict[str, Value]:
        """Scaled down to the norm allowed, where their common norm is above it."""
        limit = self._optimizer.clip_norm
        if limit is None or not gradients:
            return gradients
        builder = self._builder
        squares = [builder.op("ReduceSumSquare", g, keepdims=0) for g in gradients.values()]
        norm = builder.op("Sqrt", builder.op("Sum", *squares)) + _CLIP_EPSILON
        one, most = (builder.constant(np.array(n, np.float32)) for n in (1, limit))
        factor = builder.op("Min", most / norm, one)
        return {name: g * factor for name, g in gradients.items()}

    def _moved(self, name: str, gradient: Value) -> Value:
        """The weight after the optimizer's step."""
        weight = self._builder.value(name)
        state = {s: self._state_of(name + s, weight.type) for s in self._optimizer.state}
        moved, after = self._optimizer.step(weight, gradient, self._moment, state)
        for suffix, value in after.items():
            self._new_state[name + suffix] = self._if_applied(value, state[suffix])
        return self._if_applied(moved, weight)

    def _counted(self) -> Value:
        before = self._state_of(STEP_COUNT, _SCALAR)
        after = before + 1.0
        self._new_state[STEP_COUNT] = self._if_applied(after, before)
        return after

    def _if_applied(self, new: Value, old: Value) -> Value:
        if self._apply is None:
            return new
        return self._builder.op("Where", self._apply, new, old)

    def _setting(self, name: str, kind: Type = _SCALAR) -> Value:
        self._settings.append(name)
        return self._builder.input(name, kind)

    def _input_beside(self, name: str, kind: Type) -> Value:
        self._beside.append(name)
        return self._builder.input(name, kind)

    def _state_of(self, name: str, kind: Type) -> Value:
        sizes = tuple(size for size in kind.shape or () if isinstance(size, int))
        self._state.append(Parameter(name, sizes))
        return self._builder.input(name, kind)
