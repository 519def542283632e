"""The error an update states of itself: what a server weights and shrinks by.

A *stated error* is the expected squared error over the squared norm of the true update (vNMSE), 0
for exact codes and for biased ones, whose error is no noise that averaging removes. Where the
sender alone can know it, the payload says it in eight bits (FORMAT.md, section B.5): steps of an
eighth of an octave, which is 4% to either side.

It is a claim. A sender that states too little gets at most 1 + error times the weight it should.
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import numpy as np

from edge_sdk.codecs.ladder import power_of_two
from edge_sdk.errors import Malformed
from edge_sdk.interfaces import Codec

ERROR_BITS = 8
_PER_OCTAVE = 8
_LEAST = -20 * _PER_OCTAVE
_MOST_CODE = (1 << ERROR_BITS) - 1

_ERRORS = np.array(
    [0.0] + [power_of_two(_LEAST + code - 1, _PER_OCTAVE) for code in range(1, _MOST_CODE + 1)]
)
"""By code: 0, then 2**-20 up to 2**11.75."""
_BOUNDS = np.sqrt(_ERRORS[1:-1] * _ERRORS[2:])

_LOST_BY_BITS = (1.0, 0.3633802, 0.1174818, 0.0345478, 0.0095010, 2.5047e-3, 6.4424e-4, 1.635e-4)
_KEPT_BY_BITS = [1 - lost for lost in (*_LOST_BY_BITS, 4.118e-5)]
"""By bits, 0 to 8: share of a normal number's energy that Lloyd and Max's levels keep."""


@runtime_checkable
class StatesError(Protocol):
    """A codec whose payloads, or whose parameters, say how large their error is."""

    def stated_error(self, payload: bytes) -> float:
        """The stated error of the whole update; any of its payloads will do.

        Raises:
            Malformed: the payload's head breaks the format.
        """
        ...


def error_code(error: float) -> int:
    """The code nearest to an error of 0 or more; 0 below 2**-20."""
    if error < _ERRORS[1]:
        return 0
    return 1 + int(np.searchsorted(_BOUNDS, error, side="right"))


def error_of(code: int) -> float:
    """The error that a code of 0 to 255 stands for."""
    return float(_ERRORS[code])


def error_of_levels(bits: float) -> float:
    """Error of EDEN with `bits` per coordinate, 0 up to 8, between whole bits by a mask.

    The coordinates that have a bit more keep more energy: 1 / mean share kept - 1.
    """
    whole = min(int(bits), len(_KEPT_BY_BITS) - 2)
    finer = bits - whole
    kept = (1 - finer) * _KEPT_BY_BITS[whole] + finer * _KEPT_BY_BITS[whole + 1]
    return 1 / max(kept, 2.0**-16) - 1


def stated_error(codec: Codec, payloads: Iterable[bytes]) -> float | None:
    """What an update says of its own error: the most that one of its payloads says.

    Args:
        codec: how to read the payloads.
        payloads: those that arrived.

    Returns:
        None where the codec cannot tell, or no payload arrived or can be read; 0 for biased codecs.
    """
    if not codec.unbiased:
        return 0.0
    if not isinstance(codec, StatesError):
        return None
    said: list[float] = []
    for payload in payloads:
        try:
            said.append(codec.stated_error(payload))
        except Malformed:
            continue
    return max(said, default=None)
