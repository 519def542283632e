"""Rules for LSTM, GRU and RNN: exact back-propagation through time.

The forward pass stays the one fused node. All its gates are computed again at once, which takes
only the states it gives out (an LSTM's cell states are then one multiplication and addition per
step). Going back, each step is a handful of nodes; the gradients of all weights are single
products over all steps. Rows stand in order of time, then batch: "all steps" is a matrix of
length x batch rows.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.along import cut
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.steps import (
    joined,
    plus,
    product_over_rows,
    sigmoid,
    split_columns,
    split_steps,
    tanh,
)

Cotangents = Sequence[Value | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """One direction of a recurrent node."""

    call: Call
    index: int
    """0, or 1 for the second direction."""
    order: Sequence[int]
    """Places in the order in which the layer reads them."""
    x: Value
    """(length x batch, features)."""
    w: Value
    """(gates x hidden, features)."""
    r: Value
    """(gates x hidden, hidden)."""
    states: tuple[Value, ...]
    """The state after each place, in order of time: (batch, hidden)."""
    before: Value
    """The state before each place: (length x batch, hidden)."""
    dy: tuple[Value | None, ...]
    """Cotangent of the state after each place, in order of time."""
    dh_last: Value | None
    """Cotangent of the last state."""

    @property
    def length(self) -> int:
        """Places."""
        return len(self.order)

    def bias(self, part: int) -> Value | None:
        """Input (0) or recurrent (1) biases, as (gates x hidden)."""
        if not self.call.has(3):
            return None
        rows = self.call.fixed(self.w, 0)
        both = _of_direction(self.call.x(3), self.index)
        return cut(both, 0, part * rows, (part + 1) * rows)

    def both_biases(self) -> Value | None:
        """Their sum: most gates add both."""
        return plus(self.bias(0), self.bias(1))

    def start(self, index: int) -> Value:
        """First state of that input; zeros where it is left out."""
        if self.call.has(index):
            return _of_direction(self.call.x(index), self.index)
        return self.x.builder.zeros_like(self.states[0])

    def steps_before(self, first: Value, values: Sequence[Value]) -> list[Value]:
        """For each place in order of time, what the layer had before it."""
        shifted: list[Value] = [first] * self.length
        for place, previous in zip(self.order[1:], self.order, strict=False):
            shifted[place] = values[previous]
        return shifted


@dataclasses.dataclass(frozen=True, slots=True)
class Gradients:
    """What one direction gives back."""

    gates_x: Value
    """Of the input's share of all gates: (length x batch, gates x hidden)."""
    gates_h: Value
    """Of the state's share."""
    r: Value
    """Of the recurrent weights."""
    first: tuple[Value | None, ...]
    """Of the first states."""


Back = Callable[[Layer], Gradients]


def recurrent(call: Call, back: Back, activations: Sequence[str]) -> Cotangents:
    """What is the same for all three: the directions, and the gradients of inputs and weights."""
    _check(call, activations)
    layers = _layers(call)
    gradients = [back(layer) for layer in layers]
    dx: Value | None = None
    for layer, gradient in zip(layers, gradients, strict=True):
        dx = plus(dx, gradient.gates_x @ layer.w)
    assert dx is not None  # noqa: S101 - there is at least one direction
    pairs = list(zip(layers, gradients, strict=True))
    found = {
        0: lambda: dx.reshape_like(call.x(0)),
        1: lambda: _stacked([product_over_rows(g.gates_x, la.x) for la, g in pairs]),
        2: lambda: _stacked([g.r for g in gradients]),
        3: lambda: _stacked([joined([g.gates_x.sum(0), g.gates_h.sum(0)], 0) for g in gradients]),
        5: lambda: _stacked([_there(g.first[0]) for g in gradients]),
        6: lambda: _stacked([_there(g.first[-1]) for g in gradients]),
    }
    return [
        found[i]() if i in found and call.wants(i) else None for i in range(len(call.node.inputs))
    ]


def lstm(call: Call) -> Cotangents:
    """Gates i, o, f, c; c = f c' + i g; h = o tanh(c)."""
    if call.has(7) or call.integer("input_forget", 0):
        raise call.unsupported("peepholes and input_forget; export a plain LSTM")
    return recurrent(call, _lstm_back, ("sigmoid", "tanh", "tanh"))


def _lstm_back(layer: Layer) -> Gradients:
    gates = _affine(layer.before, layer.r, _affine(layer.x, layer.w, layer.both_biases()))
    i, o, f, g = split_columns(gates, 4)
    i, o, f, g = sigmoid(i), sigmoid(o), sigmoid(f), tanh(g)
    forgets = split_steps(f, layer.length)
    first = layer.start(6)
    cells = _cells(layer, first, forgets, split_steps(i * g, layer.length))
    seen = tanh(joined(cells, 0))
    before = joined(layer.steps_before(first, cells), 0)
    slope = o * (1.0 - seen * seen)
    factors = joined(
        [g * i * (1.0 - i), seen * o * (1.0 - o), before * f * (1.0 - f), i * (1.0 - g * g)], 1
    )
    slopes, by_gate = split_steps(slope, layer.length), split_steps(factors, layer.length)
    back: list[Value | None] = [None] * layer.length
    dh, dc = layer.dh_last, _last(layer, 2)
    for place in reversed(layer.order):
        dh = _there(plus(dh, layer.dy[place]), layer)
        dc = plus(dc, dh * slopes[place])
        assert dc is not None  # noqa: S101 - the sum of something and anything
        dz = joined([dc, dh, dc, dc], 1) * by_gate[place]
        back[place] = dz
        dh, dc = dz @ layer.r, dc * forgets[place]
    all_gates = joined([_there(dz) for dz in back], 0)
    return Gradients(all_gates, all_gates, product_over_rows(all_gates, layer.before), (dh, dc))


def _cells(
    layer: Layer, first: Value, forgets: Sequence[Value], added: Sequence[Value]
) -> list[Value]:
    """The cell state after each place, in order of time."""
    cells: list[Value] = [first] * layer.length
    cell = first
    for place in layer.order:
        cell = cell * forgets[place] + added[place]
        cells[place] = cell
    return cells


def gru(call: Call) -> Cotangents:
    """Gates z, r, n; h = (1 - z) n + z h'."""
    linear = call.integer("linear_before_reset", 0)
    return recurrent(call, _gru_linear_back if linear else _gru_back, ("sigmoid", "tanh"))


def _gru_linear_back(layer: Layer) -> Gradients:
    """With n = tanh(x Wn + r (h' Rn + bn)): all gates of the state are one product."""
    from_x = _affine(layer.x, layer.w, layer.bias(0))
    from_h = _affine(layer.before, layer.r, layer.bias(1))
    (zx, rx, nx), (zh, rh, nh) = split_columns(from_x, 3), split_columns(from_h, 3)
    z, r = sigmoid(zx + zh), sigmoid(rx + rh)
    n = tanh(nx + r * nh)
    slope = (1.0 - z) * (1.0 - n * n)
    factors = joined([(layer.before - n) * z * (1.0 - z), slope * nh * r * (1.0 - r), slope * r], 1)
    keeps, by_gate = split_steps(z, layer.length), split_steps(factors, layer.length)
    states: list[Value | None] = [None] * layer.length
    back: list[Value | None] = [None] * layer.length
    dh = layer.dh_last
    for place in reversed(layer.order):
        dh = _there(plus(dh, layer.dy[place]), layer)
        dz = joined([dh, dh, dh], 1) * by_gate[place]
        states[place], back[place] = dh, dz
        dh = dz @ layer.r + dh * keeps[place]
    of_h = joined([_there(dz) for dz in back], 0)
    of_n = joined([_there(state) for state in states], 0) * slope
    z_and_r, _ = split_columns(of_h, 3, first=2)
    of_x = joined([z_and_r, of_n], 1)
    return Gradients(of_x, of_h, product_over_rows(of_h, layer.before), (dh,))


def _gru_back(layer: Layer) -> Gradients:
    """With n = tanh(x Wn + (r h') Rn + bn): the reset comes before the product."""
    hidden = layer.call.fixed(layer.r, 1)
    r_gates, r_new = cut(layer.r, 0, 0, 2 * hidden), cut(layer.r, 0, 2 * hidden, 3 * hidden)
    from_x = _affine(layer.x, layer.w, layer.both_biases())
    zx, rx, nx = split_columns(from_x, 3)
    zh, rh = split_columns(_affine(layer.before, r_gates, None), 2)
    z, r = sigmoid(zx + zh), sigmoid(rx + rh)
    kept = r * layer.before
    n = tanh(_affine(kept, r_new, nx))
    of_z = split_steps((layer.before - n) * z * (1.0 - z), layer.length)
    of_r = split_steps(layer.before * r * (1.0 - r), layer.length)
    of_n = split_steps((1.0 - z) * (1.0 - n * n), layer.length)
    keeps, resets = split_steps(z, layer.length), split_steps(r, layer.length)
    gates: list[Value | None] = [None] * layer.length
    new: list[Value | None] = [None] * layer.length
    dh = layer.dh_last
    for place in reversed(layer.order):
        dh = _there(plus(dh, layer.dy[place]), layer)
        dn = dh * of_n[place]
        dkept = dn @ r_new
        dzr = joined([dh * of_z[place], dkept * of_r[place]], 1)
        gates[place], new[place] = dzr, dn
        dh = dzr @ r_gates + dkept * resets[place] + dh * keeps[place]
    all_gates = joined([_there(dzr) for dzr in gates], 0)
    all_new = joined([_there(dn) for dn in new], 0)
    weights = [product_over_rows(all_gates, layer.before), product_over_rows(all_new, kept)]
    both = joined([all_gates, all_new], 1)
    return Gradients(both, both, joined(weights, 0), (dh,))


def rnn(call: Call) -> Cotangents:
    """One gate: h = f(x W + h' R + b), whose slope h itself gives."""
    names = _activations(call)
    name = names[0] if names else "tanh"
    if name not in _SLOPES or set(names) > {name}:
        raise call.unsupported(f"activation {name!r}; there are {', '.join(_SLOPES)}")

    def back(layer: Layer) -> Gradients:
        slopes = split_steps(_SLOPES[name](joined(layer.states, 0)), layer.length)
        gates: list[Value | None] = [None] * layer.length
        dh = layer.dh_last
        for place in reversed(layer.order):
            dz = _there(plus(dh, layer.dy[place]), layer) * slopes[place]
            gates[place] = dz
            dh = dz @ layer.r
        every = joined([_there(dz) for dz in gates], 0)
        return Gradients(every, every, product_over_rows(every, layer.before), (dh,))

    return recurrent(call, back, (name,))


def _relu_slope(y: Value) -> Value:
    zero = y.builder.constant(np.zeros((), y.type.dtype))
    return y.builder.op("Greater", y, zero).cast(y.type.dtype)


_SLOPES: dict[str, Callable[[Value], Value]] = {
    "tanh": lambda y: 1.0 - y * y,
    "relu": _relu_slope,
    "sigmoid": lambda y: y * (1.0 - y),
}


def _activations(call: Call) -> list[str]:
    given = call.node.attributes.get("activations", ())
    return [str(name).lower() for name in given] if isinstance(given, tuple) else []


def _check(call: Call, activations: Sequence[str]) -> None:
    """Refuse what has no rule, each by its name."""
    if call.has(4):
        raise call.unsupported("sequence_lens; pad and mask sequences in the loss instead")
    if call.integer("layout", 0):
        raise call.unsupported("layout 1; transpose to (length, batch, features)")
    if "clip" in call.node.attributes:
        raise call.unsupported("clip; export without it")
    given = _activations(call)
    if given and any(name != activations[i % len(activations)] for i, name in enumerate(given)):
        raise call.unsupported(f"activations {', '.join(given)}; the usual ones have one")


def _layers(call: Call) -> list[Layer]:
    """Every direction of the node."""
    length = call.fixed(call.x(0), 0)
    way = call.text("direction", "forward")
    forward, backward = range(length), range(length - 1, -1, -1)
    orders = {"forward": [forward], "reverse": [backward], "bidirectional": [forward, backward]}
    if way not in orders or length < 1:
        raise call.unsupported(f"direction {way!r} over {length} places")
    x, y = call.x(0), call.y(0)
    rows = x.reshape(-1, call.fixed(x, 2))
    layers = []
    for index, order in enumerate(orders[way]):
        states = split_steps(_rows_of_direction(call, y, index), length)
        dy: tuple[Value | None, ...] = (None,) * length
        if call.cotangents[0] is not None:
            dy = split_steps(_rows_of_direction(call, call.cotangents[0], index), length)
        layer = Layer(
            call=call,
            index=index,
            order=order,
            x=rows,
            w=_of_direction(call.x(1), index),
            r=_of_direction(call.x(2), index),
            states=states,
            before=rows,  # a seat for the line below, which needs the layer
            dy=dy,
            dh_last=_last_of(call, 1, index),
        )
        before = joined(layer.steps_before(layer.start(5), states), 0)
        layers.append(dataclasses.replace(layer, before=before))
    return layers


def _of_direction(value: Value, index: int) -> Value:
    """One direction of weights or states: axis 0 picked and dropped."""
    builder = value.builder
    return builder.op("Squeeze", cut(value, 0, index, index + 1), builder.ints([0]))


def _rows_of_direction(call: Call, value: Value, index: int) -> Value:
    """One direction of (length, directions, batch, hidden) as rows."""
    return cut(value, 1, index, index + 1).reshape(-1, call.fixed(value, 3))


def _last_of(call: Call, output: int, index: int) -> Value | None:
    """Cotangent of a last state; None where nothing depends on it."""
    known = call.cotangents[output] if output < len(call.cotangents) else None
    return None if known is None else _of_direction(known, index)


def _last(layer: Layer, output: int) -> Value | None:
    return _last_of(layer.call, output, layer.index)


def _affine(x: Value, w: Value, added: Value | None) -> Value:
    """Rows of x W' plus what is added to each or to all."""
    return x.builder.op("Gemm", x, w, added, transB=1)


def _there(value: Value | None, layer: Layer | None = None) -> Value:
    """The value; zeros where there is none yet."""
    if value is not None:
        return value
    assert layer is not None  # noqa: S101 - only the first step back can lack a cotangent
    return layer.x.builder.zeros_like(layer.states[0])


def _stacked(values: Sequence[Value]) -> Value:
    """Directions as axis 0."""
    builder = values[0].builder
    return joined([builder.op("Unsqueeze", value, builder.ints([0])) for value in values], 0)


RULES = {
    "LSTM": Rule(lstm, every_output=True),
    "GRU": Rule(gru, every_output=True),
    "RNN": Rule(rnn, every_output=True),
}
