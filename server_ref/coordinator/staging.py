"""What the next round promises: the settings' terms, and the stage it trains. Pure."""

import dataclasses
from functools import cache

from server_ref.memory import default_speed
from server_ref.settings import Terms


def next_terms(terms: Terms, *, stages: int) -> Terms:
    """The terms of the round about to open.

    Every round trains the whole model, the last of the plan's `stages`. This is the one place where
    that is decided.
    """
    speed = terms.memory_speed
    if terms.memory == "artemis" and speed is None:
        speed = _speed(terms.codecs)
    return dataclasses.replace(terms, stage=stages - 1, memory_speed=speed)


@cache
def _speed(codecs: tuple[str, ...]) -> float:
    return default_speed(codecs)
