"""How a gradient moves a weight, as nodes in the train graph. Formulas and names as in PyTorch."""

import dataclasses
import math
from collections.abc import Callable, Mapping

from edge_sdk.authoring.builder import Value
from edge_sdk.errors import Misuse

MOMENTUM, SECOND_MOMENT, GATHERED = ".momentum", ".second-moment", ".gathered"

STATE_SUFFIXES = (MOMENTUM, SECOND_MOMENT, GATHERED)
"""Suffixes any optimizer here uses; models' own values may not end so."""

STEP_COUNT = "optimizer.steps"
"""State of an optimizer that counts: how many steps were made, 0-d."""


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """Where an update stands."""

    rate: Value
    """Learning rate, 0-d."""
    count: Value | None
    """Number of this step, from 1, 0-d float; None for an optimizer that does not count."""


Stepped = tuple[Value, Mapping[str, Value]]
"""New weight, and new state by suffix."""

Step = Callable[[Value, Value, Moment, Mapping[str, Value]], Stepped]
"""From weight, gradient, moment and state by suffix."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """One update rule with its settings. Make it by `sgd`, `nesterov`, `adam` or `adamw`."""

    name: str
    """Name and settings of the rule itself."""
    state: tuple[str, ...] = ()
    """Suffix of each state tensor a weight needs; all have the weight's shape, zero at first."""
    counts: bool = False
    """Whether the rule needs the number of the step."""
    step: Step
    clip_norm: float | None = None
    """Longest gradient, all weights together; longer ones are scaled down."""
    proximal: bool = False
    """Add mu (w - w at the round's start) to the gradient (FedProx, arXiv:1812.06127)."""
    correction: bool = False
    """Add an outside term to each gradient (SCAFFOLD, arXiv:1910.06378)."""
    accumulate: bool = False
    """Gather gradients over several small batches before each step."""

    @property
    def spec(self) -> str:
        """Name and all settings, as the manifest shows them."""
        clip = [f"clip-norm={self.clip_norm:g}"] if self.clip_norm is not None else []
        flags = [name for name in ("proximal", "correction", "accumulate") if getattr(self, name)]
        head, _, settings = self.name.partition(":")
        return ":".join(filter(None, [head, ",".join(filter(None, [settings, *clip, *flags]))]))


def sgd(*, momentum: float = 0.9, weight_decay: float = 0.0) -> Optimizer:
    """Step by w' = w - lr m' with m' = momentum m + g (heavy ball), g with weight_decay w in it.

    Raises:
        Misuse: `momentum` is not in [0, 1) or `weight_decay` below 0.
    """
    name = _checked("sgd", momentum=momentum, weight_decay=weight_decay)
    if momentum == 0:

        def plain(weight: Value, g: Value, at: Moment, _: Mapping[str, Value]) -> Stepped:
            return weight - _decayed(weight, g, weight_decay) * at.rate, {}

        return Optimizer(name=name, step=plain)

    def step(weight: Value, g: Value, at: Moment, state: Mapping[str, Value]) -> Stepped:
        moved = state[MOMENTUM] * momentum + _decayed(weight, g, weight_decay)
        return weight - moved * at.rate, {MOMENTUM: moved}

    return Optimizer(name=name, state=(MOMENTUM,), step=step)


def nesterov(*, momentum: float = 0.9, weight_decay: float = 0.0) -> Optimizer:
    """As `sgd`, but w' = w - lr (g + momentum m').

    Raises:
        Misuse: `momentum` is not in [0, 1) or `weight_decay` below 0.
    """
    name = _checked("nesterov", momentum=momentum, weight_decay=weight_decay)

    def step(weight: Value, g: Value, at: Moment, state: Mapping[str, Value]) -> Stepped:
        decayed = _decayed(weight, g, weight_decay)
        moved = state[MOMENTUM] * momentum + decayed
        return weight - (decayed + moved * momentum) * at.rate, {MOMENTUM: moved}

    return Optimizer(name=name, state=(MOMENTUM,), step=step)


def adam(
    *,
    momentum: float = 0.9,
    second: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam (arXiv:1412.6980) with decay rates `momentum` and `second`; decay in the gradient.

    Raises:
        Misuse: a decay rate is not in [0, 1), or another setting out of range.
    """
    name = _checked("adam", momentum=momentum, second=second, weight_decay=weight_decay)
    step = _adam_step(momentum, second, _positive(epsilon))

    def coupled(weight: Value, g: Value, at: Moment, state: Mapping[str, Value]) -> Stepped:
        return step(weight, _decayed(weight, g, weight_decay), at, state)

    return Optimizer(name=name, state=(MOMENTUM, SECOND_MOMENT), counts=True, step=coupled)


def adamw(
    *,
    momentum: float = 0.9,
    second: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Adam whose weight decay shrinks the weight itself by lr weight_decay (arXiv:1711.05101).

    Raises:
        Misuse: a decay rate is not in [0, 1), or another setting out of range.
    """
    name = _checked("adamw", momentum=momentum, second=second, weight_decay=weight_decay)
    step = _adam_step(momentum, second, _positive(epsilon))

    def decoupled(weight: Value, g: Value, at: Moment, state: Mapping[str, Value]) -> Stepped:
        shrunk = weight * (1.0 - at.rate * weight_decay) if weight_decay else weight
        return step(shrunk, g, at, state)

    return Optimizer(name=name, state=(MOMENTUM, SECOND_MOMENT), counts=True, step=decoupled)


def _adam_step(first: float, second: float, epsilon: float) -> Step:
    def step(weight: Value, g: Value, at: Moment, state: Mapping[str, Value]) -> Stepped:
        if at.count is None:
            raise AssertionError("Adam needs the number of the step")
        m = state[MOMENTUM] * first + g * (1 - first)
        v = state[SECOND_MOMENT] * second + g * g * (1 - second)
        by_m, by_v = (1.0 - _power(beta, at.count) for beta in (first, second))
        root = weight.builder.op("Sqrt", v / by_v) + epsilon
        return weight - m * (at.rate / by_m) / root, {MOMENTUM: m, SECOND_MOMENT: v}

    return step


def _power(base: float, count: Value) -> Value:
    return count.builder.op("Pow", count * 0.0 + base, count)


def _decayed(weight: Value, g: Value, weight_decay: float) -> Value:
    return g + weight * weight_decay if weight_decay else g


def _checked(name: str, *, weight_decay: float, **rates: float) -> str:
    """The rule's name with its settings."""
    for which, rate in rates.items():
        if not 0 <= rate < 1:
            raise Misuse(f"{which} {rate}; it must be at least 0 and below 1")
    if not 0 <= weight_decay < 1:
        raise Misuse(f"weight decay {weight_decay}; it must be at least 0 and below 1")
    shown = {**rates, "weight-decay": weight_decay}
    settings = ",".join(f"{which}={value:g}" for which, value in shown.items() if value)
    return f"{name}:{settings}" if settings else name


def _positive(epsilon: float) -> float:
    if not 0 < epsilon < 1:
        raise Misuse(f"epsilon {epsilon}; it must be above 0 and below 1")
    return epsilon


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
}
"""Optimizers by the name `build_plan` takes. All take `momentum` and `weight_decay`."""


def chosen_optimizer(
    optimizer: str | Optimizer,
    *,
    momentum: float | None = None,
    weight_decay: float | None = None,
    clip_norm: float | None = None,
    proximal: bool = False,
    correction: bool = False,
    accumulate: bool = False,
) -> Optimizer:
    """The optimizer of that name with these settings, or the one given with those beside the rule.

    Args:
        optimizer: a name, or a rule made by a function here.
        momentum: of a named rule; None leaves its default, as for the next.
        weight_decay: of a named rule.
        clip_norm: as in `Optimizer`, like the rest.
        proximal: FedProx's inputs.
        correction: inputs to add to gradients.
        accumulate: gather gradients.

    Raises:
        Misuse: there is none of that name, a setting is out of range, or a rule was given whose
            settings stand already.
    """
    settings = {"momentum": momentum, "weight_decay": weight_decay}
    given = {key: value for key, value in settings.items() if value is not None}
    if clip_norm is not None and not 0 < clip_norm < math.inf:
        raise Misuse(f"clip norm {clip_norm}; it must be above 0")
    if isinstance(optimizer, Optimizer):
        if given:
            raise Misuse(f"the optimizer is made already; make it with {', '.join(given)}")
        rule = optimizer
    elif optimizer in OPTIMIZERS:
        rule = OPTIMIZERS[optimizer](**given)
    else:
        raise Misuse(f"no optimizer {optimizer!r}; there are {', '.join(OPTIMIZERS)}")
    return dataclasses.replace(
        rule,
        clip_norm=rule.clip_norm if clip_norm is None else clip_norm,
        proximal=rule.proximal or proximal,
        correction=rule.correction or correction,
        accumulate=rule.accumulate or accumulate,
    )
