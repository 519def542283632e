"""When a round's mean is mostly coding noise: how much to shrink it, and what to ask for.

An unbiased codec with error v leaves noise of energy v times the update's in each update, and
v / K of it in the mean of K independent ones. Measured on a small CNN and an MLP: while v / K is at
most about 3 unbiased noise costs nothing, between 3 and 4 little, from about 6 on training becomes
unstable. Shrinking the mean keeps it stable at the price of slower progress, and did better than
error feedback up to loads of about 60; more bits or more updates cure the cause.

Source of the factor: James and Stein 1961, in the positive-part form for known noise energy.
"""

import dataclasses
import math
from collections.abc import Sequence
from enum import Enum

from edge_sdk.errors import Misuse

HARMLESS = 3.0
"""Noise of the mean over energy of an update up to which nothing has to be done."""

FEEDBACK_PAYS = 60.0
"""From here on a biased code with error feedback trains better than the shrunk mean: measured with
small CNNs, shrinking won at loads up to 30, neither at 70 to 100, error feedback at 150."""


class Advice(Enum):
    """What would serve the next round best."""

    KEEP = "keep"
    """Go on as it is."""
    RICHER = "richer"
    """More bits per update, or more updates per round."""
    FEEDBACK = "feedback"
    """Devices that come back should send biased codes with error feedback."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """One update of the mean, as its sender and the decoder describe it."""

    weight: float
    """Weight in the mean, above 0; only ratios matter."""
    vnmse: float
    """Expected squared error over the squared norm, 0 or more; 0 for exact or biased codecs, whose
    error is no noise that averaging removes."""
    energy: float
    """Squared norm of the decoded update, noise included."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What to do with a round's mean."""

    factor: float
    """Multiply the mean by it, 0 to 1."""
    load: float
    """Noise energy of the mean over the mean energy of a true update: v / K for equal updates."""
    noise: float
    """Expected noise energy of the mean."""
    advice: Advice


def judge(updates: Sequence[Stated], *, harmless: float = HARMLESS) -> Judgement:
    """How much to shrink the weighted mean of `updates`, from their stated errors alone.

    A true update's energy is estimated as its decoded energy over 1 + vnmse. With load L the factor
    is (1 + harmless) / (1 + L), at most 1: James and Stein's factor for updates that point the same
    way, relaxed so that noise known to be harmless is let through. harmless = 0 is the plain form.

    Raises:
        Misuse: a number is negative, not finite or a weight is 0, or harmless is negative.
    """
    if not 0 <= harmless < math.inf:
        raise Misuse(f"harmless {harmless}")
    for update in updates:
        _require_sane(update)
    whole = math.fsum(update.weight for update in updates)
    shares = [update.weight / whole for update in updates]
    true = [update.energy / (1 + update.vnmse) for update in updates]
    terms = list(zip(shares, updates, true, strict=True))
    noise = math.fsum(share * share * update.vnmse * energy for share, update, energy in terms)
    typical = math.fsum(share * energy for share, _, energy in terms)
    load = noise / typical if typical else 0.0
    factor = min(1.0, (1 + harmless) / (1 + load))
    return Judgement(factor=factor, load=load, noise=noise, advice=_advice(load, harmless))


def james_stein(*, energy: float, noise: float) -> float:
    """Factor for a mean of squared norm `energy` that holds noise of expected energy `noise`.

    max(0, 1 - noise / energy): minimises the expected squared error up to terms of order 1/d.
    Shrinks also what pulls in different directions, so it is the choice for one last estimate, not
    for a step of training; see `judge`.

    Raises:
        Misuse: a number is negative or not finite.
    """
    if not (0 <= energy < math.inf and 0 <= noise < math.inf):
        raise Misuse(f"energy {energy}, noise {noise}")
    return max(0.0, 1 - noise / energy) if energy else 0.0


def updates_needed(vnmse: float, *, harmless: float = HARMLESS) -> int:
    """How many equal updates of this error make a mean that needs no shrinking, at least 1.

    Raises:
        Misuse: a number is out of bounds.
    """
    if not (0 <= vnmse < math.inf and 0 < harmless < math.inf):
        raise Misuse(f"vnmse {vnmse}, harmless {harmless}")
    return max(1, math.ceil(vnmse / harmless))


def _advice(load: float, harmless: float) -> Advice:
    if load <= harmless:
        return Advice.KEEP
    return Advice.RICHER if load < max(FEEDBACK_PAYS, harmless) else Advice.FEEDBACK


def _require_sane(update: Stated) -> None:
    if not (
        0 < update.weight < math.inf
        and 0 <= update.vnmse < math.inf
        and 0 <= update.energy < math.inf
    ):
        raise Misuse(f"not a stated update: {update}")
