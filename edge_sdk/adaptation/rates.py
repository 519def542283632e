"""What a codec will send and lose, from its spec alone. Pure.

A policy has to compare codecs before there is an update to encode, so these are forecasts for an
update of normal values, from the codecs' own bounds; `Learned` replaces the bits by those seen.

Unbiased codes of b bits a coordinate: the least squared error of any code is D = 4**-b of the
energy (Shannon); scaled to be unbiased that is 1 / (4**b - 1), and uniform steps with an entropy
coder lose pi e / 6 = 1.42 on top (Gish and Pierce 1968). EDEN's whole bits have figures of their
own. Sparse codes keep the largest share p of a normal vector: with z the value that a normal
number's size exceeds with probability p, they hold p + 2 z phi(z) of its energy.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist

from edge_sdk.codecs.table import Words, words_of
from edge_sdk.errors import EdgeError

STEP_LOSS = math.pi * math.e / 6

EDEN_ERRORS = {1: 0.571, 2: 0.133, 3: 0.0358, 4: 0.0096}
"""Error of EDEN by bits, as `edge_sdk.codecs.eden` states it."""

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one update is expected to cost and lose."""

    bits: float
    """Wire bits per coordinate, frame headers left out."""
    error: float
    """Expected squared error over the squared norm. Of a biased codec: the share left out."""
    unbiased: bool = True


UNKNOWN = Forecast(32.0, 1.0)
"""Of a codec that is not known here: as large as any, and as bad as most."""


def forecast(spec: str) -> Forecast:
    """What the codec of `spec` will send and lose; `UNKNOWN` for one not known here."""
    try:
        name, words = words_of(spec)
        found = _FAMILIES[name](words)
    except (EdgeError, KeyError, ValueError, ZeroDivisionError, OverflowError):
        return UNKNOWN
    usable = found.bits > 0 and found.error >= 0 and math.isfinite(found.bits + found.error)
    return found if usable else UNKNOWN


def _by_rate(words: Words) -> Forecast:
    rate = float(words["rate"])
    return Forecast(rate, 0.0 if rate >= 16 else STEP_LOSS / (4.0**rate - 1))


def _eden(words: Words) -> Forecast:
    if "bits" not in words:
        return _by_rate(words)
    bits = int(words["bits"])
    return Forecast(bits, EDEN_ERRORS.get(bits, STEP_LOSS / (4.0**bits - 1)))


def _deadzone(words: Words) -> Forecast:
    rate = float(words["rate"])
    return Forecast(rate, min(1.0, 4.0**-rate), unbiased=False)


def _largest(share: float) -> Forecast:
    """Largest values at 16 bits each, and about log2(1 / p) + 1.5 bits for each place."""
    z = _NORMAL.inv_cdf(1 - min(share, 1.0) / 2)
    kept = min(1.0, share + 2 * z * _NORMAL.pdf(z))
    return Forecast(share * (17.5 + math.log2(1 / share)), 1 - kept, unbiased=False)


def _randomk(words: Words) -> Forecast:
    share = float(words["share"])
    return Forecast(share * int(words.get("values", "16")), 1 / share - 1)


def _qsgd(words: Words) -> Forecast:
    levels, bucket = int(words.get("levels", "1")), int(words.get("bucket", "512"))
    error = min(bucket / levels**2, math.sqrt(bucket) / levels)
    return Forecast(math.log2(2 * levels + 1), error)


_FAMILIES: Mapping[str, Callable[[Words], Forecast]] = {
    "float32": lambda _: Forecast(32.0, 0.0),
    "float16": lambda _: Forecast(16.0, 0.0, unbiased=False),
    "sign": lambda _: Forecast(1.0, 1 - 2 / math.pi, unbiased=False),
    "eden": _eden,
    "deadzone": _deadzone,
    "topk": lambda words: _largest(float(words["share"])),
    "fedzip": lambda words: _largest(float(words.get("keep", "0.1"))),
    "randomk": _randomk,
    "qsgd": _qsgd,
    **dict.fromkeys(("auto", "blockwise", "dithered", "lowrank", "eden-entropy"), _by_rate),
}
