"""LSTM, GRU and RNN in numpy, in both directions and any float type.

The onnx library's reference versions (1.23) know one direction only and no outputs left out.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from edge_sdk.errors import Unsupported

Floats = NDArray[np.floating]
Step = Callable[[int, Floats, tuple[Floats, ...]], tuple[Floats, ...]]
"""From direction, input row and states to the new states, the one given out first."""


def _sigmoid(x: Floats) -> Floats:
    made: Floats = 1 / (1 + np.exp(-x))
    return made


_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "relu": lambda x: np.maximum(x, 0),
}


def _run_steps(
    x: Floats, direction: str | None, starts: Sequence[Floats], step: Step
) -> tuple[Floats, ...]:
    """Y (length, directions, batch, hidden), then each last state (directions, batch, hidden)."""
    forward = range(len(x))
    ways = {"reverse": [forward[::-1]], "bidirectional": [forward, forward[::-1]]}
    y = np.zeros((len(x), *starts[0].shape), x.dtype)
    last = [start.copy() for start in starts]
    for way, order in enumerate(ways.get(direction or "forward", [forward])):
        states = tuple(start[way] for start in starts)
        for place in order:
            states = step(way, x[place], states)
            y[place, way] = states[0]
        for kept, state in zip(last, states, strict=True):
            kept[way] = state
    return (y, *last)


def _filled(given: Sequence[Floats | None], count: int) -> list[Floats | None]:
    """Optional inputs, None for each that is left out."""
    return [*given, *[None] * (count - len(given))]


class _Recurrent(OpRun):
    """What the three share."""

    op_domain = ""

    def _starts(self, x: Floats, r: Floats, *given: Floats | None) -> list[Floats]:
        shape = (r.shape[0], x.shape[1], r.shape[2])
        return [np.zeros(shape, x.dtype) if g is None else g for g in given]

    def _biases(self, w: Floats, b: Floats | None) -> tuple[Floats, Floats]:
        """Of the input and of the state, each (directions, gates x hidden)."""
        if b is None:
            none = np.zeros(w.shape[:2], w.dtype)
            return none, none
        return b[:, : w.shape[1]], b[:, w.shape[1] :]

    def _refuse(self, lengths: object, layout: int | None, *others: object) -> None:
        if lengths is not None or layout or any(others):
            raise Unsupported("recurrent node with lengths, layout, clip or peepholes")


class LSTM(_Recurrent):
    """ONNX LSTM with the usual activations."""

    def _run(
        self,
        x: Floats,
        w: Floats,
        r: Floats,
        *rest: Floats | None,
        activations: Sequence[str] | None = None,  # noqa: ARG002 - the rule checks them
        activation_alpha: object = None,  # noqa: ARG002
        activation_beta: object = None,  # noqa: ARG002
        clip: float | None = None,
        direction: str | None = None,
        hidden_size: int | None = None,  # noqa: ARG002 - stands in r
        input_forget: int | None = None,
        layout: int | None = None,
    ) -> tuple[Floats, ...]:
        b, lengths, initial_h, initial_c, peepholes = _filled(rest, 5)
        self._refuse(lengths, layout, clip, input_forget, peepholes is not None)
        for_x, for_h = self._biases(w, b)

        def step(way: int, row: Floats, states: tuple[Floats, ...]) -> tuple[Floats, ...]:
            h, c = states
            gates = row @ w[way].T + h @ r[way].T + for_x[way] + for_h[way]
            i, o, f, g = np.split(gates, 4, axis=1)
            new = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            return _sigmoid(o) * np.tanh(new), new

        return _run_steps(x, direction, self._starts(x, r, initial_h, initial_c), step)


class GRU(_Recurrent):
    """ONNX GRU with the usual activations."""

    def _run(
        self,
        x: Floats,
        w: Floats,
        r: Floats,
        *rest: Floats | None,
        activations: Sequence[str] | None = None,  # noqa: ARG002 - the rule checks them
        activation_alpha: object = None,  # noqa: ARG002
        activation_beta: object = None,  # noqa: ARG002
        clip: float | None = None,
        direction: str | None = None,
        hidden_size: int | None = None,  # noqa: ARG002 - stands in r
        layout: int | None = None,
        linear_before_reset: int | None = None,
    ) -> tuple[Floats, ...]:
        b, lengths, initial_h = _filled(rest, 3)
        self._refuse(lengths, layout, clip)
        for_x, for_h = self._biases(w, b)

        def step(way: int, row: Floats, states: tuple[Floats, ...]) -> tuple[Floats, ...]:
            (h,) = states
            zx, rx, nx = np.split(row @ w[way].T + for_x[way], 3, axis=1)
            zh, rh, nh = np.split(h @ r[way].T + for_h[way], 3, axis=1)
            update, reset = _sigmoid(zx + zh), _sigmoid(rx + rh)
            if linear_before_reset:
                new = np.tanh(nx + reset * nh)
            else:
                size = h.shape[1]
                new = np.tanh(nx + (reset * h) @ r[way][2 * size :].T + for_h[way][2 * size :])
            return ((1 - update) * new + update * h,)

        return _run_steps(x, direction, self._starts(x, r, initial_h), step)


class RNN(_Recurrent):
    """ONNX RNN."""

    def _run(
        self,
        x: Floats,
        w: Floats,
        r: Floats,
        *rest: Floats | None,
        activations: Sequence[str] | None = None,
        activation_alpha: object = None,  # noqa: ARG002
        activation_beta: object = None,  # noqa: ARG002
        clip: float | None = None,
        direction: str | None = None,
        hidden_size: int | None = None,  # noqa: ARG002 - stands in r
        layout: int | None = None,
    ) -> tuple[Floats, ...]:
        b, lengths, initial_h = _filled(rest, 3)
        self._refuse(lengths, layout, clip)
        for_x, for_h = self._biases(w, b)
        activation = _ACTIVATIONS[(activations or ["tanh"])[0].lower()]

        def step(way: int, row: Floats, states: tuple[Floats, ...]) -> tuple[Floats, ...]:
            gate = row @ w[way].T + states[0] @ r[way].T + for_x[way] + for_h[way]
            return (activation(gate),)

        return _run_steps(x, direction, self._starts(x, r, initial_h), step)


OPERATORS: tuple[type[OpRun], ...] = (LSTM, GRU, RNN)
