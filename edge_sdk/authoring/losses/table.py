"""All losses by name."""

import inspect
from collections.abc import Callable, Mapping

from edge_sdk.authoring.losses.cross_entropy import binary_cross_entropy, cross_entropy
from edge_sdk.authoring.losses.dice import dice
from edge_sdk.authoring.losses.distance import huber, mean_absolute_error, mean_squared_error
from edge_sdk.authoring.losses.kind import Loss
from edge_sdk.errors import Misuse

LOSSES: Mapping[str, Callable[..., Loss]] = {
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "dice": dice,
    "mse": mean_squared_error,
    "l1": mean_absolute_error,
    "huber": huber,
}
"""Losses by the name `build_plan` takes."""


def chosen_loss(loss: str | Loss, **settings: object) -> Loss:
    """The loss of that name with these settings, or the one given.

    Args:
        loss: a name, or a loss made by a function of this room.
        settings: what that function takes; None leaves its default.

    Raises:
        Misuse: there is no loss of that name, it does not take a setting, or a loss was given whose
            settings stand already.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    if isinstance(loss, Loss):
        if given:
            raise Misuse(f"the loss is made already; make it with {', '.join(given)}")
        return loss
    if loss not in LOSSES:
        raise Misuse(f"no loss {loss!r}; there are {', '.join(LOSSES)}")
    known = inspect.signature(LOSSES[loss]).parameters
    for key in given:
        if key not in known:
            takes = ", ".join(known) or "no settings"
            raise Misuse(f"loss {loss!r} takes no {key}; it takes {takes}")
    return LOSSES[loss](**given)
