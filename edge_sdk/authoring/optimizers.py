"""How a gradient moves a weight, as nodes in the train graph."""

import dataclasses
from collections.abc import Callable, Mapping

from edge_sdk.authoring.builder import Value
from edge_sdk.errors import Misuse

Stepped = tuple[Value, Mapping[str, Value]]
"""New weight, and new state by suffix."""


@dataclasses.dataclass(frozen=True, slots=True)
class Optimizer:
    """One update rule with its settings."""

    spec: str
    """Name and settings, as the manifest shows them."""
    state: tuple[str, ...]
    """Suffix of each state tensor a weight needs; all have the weight's shape, zero at first."""
    step: Callable[[Value, Value, Value, Mapping[str, Value]], Stepped]
    """From weight, gradient, learning rate (0-d) and state by suffix."""


MOMENTUM = ".momentum"

STATE_SUFFIXES = (MOMENTUM,)
"""Suffixes any optimizer here uses; models' own values may not end so."""


def sgd(momentum: float) -> Optimizer:
    """Step by w' = w - lr m' with m' = momentum m + gradient (heavy ball as PyTorch writes it).

    Raises:
        Misuse: `momentum` is not in [0, 1).
    """
    if not 0 <= momentum < 1:
        raise Misuse(f"momentum {momentum}; it must be at least 0 and below 1")
    if momentum == 0:
        return Optimizer("sgd", (), lambda weight, g, lr, _: (weight - g * lr, {}))

    def step(weight: Value, g: Value, lr: Value, state: Mapping[str, Value]) -> Stepped:
        moved = state[MOMENTUM] * momentum + g
        return weight - moved * lr, {MOMENTUM: moved}

    return Optimizer(f"sgd:momentum={momentum:g}", (MOMENTUM,), step)


OPTIMIZERS: Mapping[str, Callable[[float], Optimizer]] = {"sgd": sgd}
"""Optimizers by the name `build_plan` takes."""


def optimizer_named(name: str, *, momentum: float) -> Optimizer:
    """The optimizer of that name with these settings.

    Raises:
        Misuse: there is none, or it does not take the settings.
    """
    if name not in OPTIMIZERS:
        raise Misuse(f"no optimizer {name!r}; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](momentum)
