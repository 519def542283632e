"""Is the mean of many seeds the vector, and is the error after lost chunks what theory says?"""

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from benchmarks.contenders import decoded, encode_once
from edge_sdk.codecs import Eden
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.dithered import Dithered
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.eden_mixed import EdenMixed
from edge_sdk.codecs.qsgd import Qsgd
from edge_sdk.interfaces import Codec
from edge_sdk.values import Place, Vector
from server_ref.aggregate import WeightedSum

Row = dict[str, float | str]


def two_values(size: int) -> Vector:
    """(1, .5, 0, 0, …)."""
    vector = np.zeros(size, np.float32)
    vector[:2] = 1, 0.5
    return vector


def spikes(size: int) -> Vector:
    """300 ones in 65,536 coordinates, as many per coordinate in others."""
    vector = np.zeros(size, np.float32)
    count = max(300 * size // 65_536, 1)
    where = np.random.default_rng(3).choice(size, count, replace=False)
    vector[where] = 1
    return vector


def normal(size: int) -> Vector:
    """Dense normal values."""
    return np.random.default_rng(4).standard_normal(size, np.float32)


VECTORS: Mapping[str, Callable[[int], Vector]] = MappingProxyType(
    {"(1, .5, 0 ...)": two_values, "spikes": spikes, "normal": normal}
)


def bias_rows(*, quick: bool) -> Iterator[Row]:
    """Squared bias of every unbiased codec on concentrated and on dense vectors.

    `bias2` is the inner product of the errors of the means over two halves of the seeds, over
    |x|^2: its expectation is the squared bias alone, noise adds nothing. `error2/noise` is the
    usual |mean - x|^2 over v / seeds, 1 for unbiased and independent codes.
    """
    codecs: list[Codec] = [Blockwise(0.5), Blockwise(1.0), EdenEntropy(0.5), Eden(1), Qsgd()]
    codecs += [EdenMixed(0.5), EdenMixed(1.5)]
    if not quick:
        codecs += [Blockwise(0.1), EdenEntropy(1.0), Eden(2), Dithered(1.5), Eden(1, rounds=1)]
        codecs += [EdenMixed(0.1), EdenMixed(1.5, rounds=1)]
    size, seeds = (4096, 100) if quick else (65_536, 300)
    for name, make in VECTORS.items():
        vector = make(size)
        for codec in codecs:
            yield {"vector": name, "codec": codec.spec, **bias_of(codec, vector, seeds=seeds)}


def bias_of(codec: Codec, vector: Vector, *, seeds: int) -> dict[str, float]:
    """`v`, `bias2`, its standard error `noise2` where there is no bias, and `error2/noise`.

    The standard error counts the coordinates that the noise is spread over as (sum e)^2 / sum e^2
    of their squared errors e.
    """
    energy = float(np.sum(vector.astype(np.float64) ** 2))
    halves = np.zeros((2, len(vector)))
    squares = np.zeros(len(vector))
    for seed in range(seeds):
        payloads = encode_once(codec, vector, seed=seed)
        result = decoded(codec, payloads, len(vector), seed=seed) - vector.astype(np.float64)
        halves[seed % 2] += result
        squares += result**2
    vnmse = float(squares.sum()) / seeds / energy
    whole = float(np.sum(halves.sum(0) ** 2)) / seeds**2 / energy
    cross = float(halves[0] @ halves[1]) / (seeds / 2) ** 2 / energy
    coordinates = float(squares.sum() ** 2 / np.sum(squares**2)) if vnmse else 1.0
    return {
        "v": vnmse,
        "bias2": cross,
        "noise2": 2 * vnmse / seeds / math.sqrt(coordinates),
        "error2/noise": whole * seeds / vnmse if vnmse else 0.0,
    }


SMALL_CHUNK = 256
"""Bytes of a payload here, so that an update has chunks enough to lose a share of them."""
COHORT = 10


def loss_rows(*, quick: bool) -> Iterator[Row]:
    """Error when chunks are lost at random, by both rules, beside theory.

    One update, what arrives scaled by 1 / kept: (1 + v) / kept - 1. A cohort of equal updates in
    the server's mean, which divides at each coordinate by what arrived there: v E[1/n; n > 0] +
    P(n = 0). `bias2` is that of the scaled rule.
    """
    size, repeats = (1 << 15, 60) if quick else (1 << 18, 100)
    vector = normal(size)
    for codec in (Blockwise(0.5), EdenEntropy(0.5), Eden(1), EdenMixed(0.5)):
        for lost in (0.05, 0.2, 0.5):
            yield {"codec": codec.spec, "lost": lost, **loss_of(codec, vector, lost, repeats)}


def loss_of(codec: Codec, vector: Vector, lost: float, repeats: int) -> dict[str, float]:
    """Measured and expected errors over `repeats` updates, of which each ten make a cohort."""
    wide = vector.astype(np.float64)
    energy = float(np.sum(wide**2))
    rng = np.random.default_rng(9)
    halves = np.zeros((2, len(vector)))
    plain, scaled, cohorts = 0.0, 0.0, []
    together = WeightedSum(len(vector))
    for seed in range(repeats):
        payloads = codec.encode(vector, seed=seed, chunk_bytes=SMALL_CHUNK)
        kept = rng.random(len(payloads)) >= lost
        places = [Place(len(vector), i, len(payloads), seed) for i in range(len(payloads))]
        pieces = [codec.decode(p, at) for p, at in zip(payloads, places, strict=True)]
        whole, part = np.zeros(len(vector)), np.zeros(len(vector))
        for piece, arrived in zip(pieces, kept.tolist(), strict=True):
            piece.where.put(piece.values, whole)
            if arrived:
                piece.where.put(piece.values / (1 - lost), part)
        together.add([p for p, arrived in zip(pieces, kept.tolist(), strict=True) if arrived], 1.0)
        plain += float(np.sum((whole - wide) ** 2)) / energy / repeats
        scaled += float(np.sum((part - wide) ** 2)) / energy / repeats
        halves[seed % 2] += part - wide
        if seed % COHORT == COHORT - 1:
            cohorts.append(float(np.sum((together.mean() - wide) ** 2)) / energy)
            together = WeightedSum(len(vector))
    return {
        "chunks": float(len(kept)),
        "v": plain,
        "error": scaled,
        "theory": (1 + plain) / (1 - lost) - 1,
        "bias2": float(halves[0] @ halves[1]) / (repeats / 2) ** 2 / energy,
        "cohort": float(np.mean(cohorts)),
        "cohort theory": plain * _mean_inverse(COHORT, 1 - lost) + lost**COHORT,
    }


def _mean_inverse(count: int, kept: float) -> float:
    """E[1/n; n > 0] for a binomial n."""
    numbers = np.arange(1, count + 1)
    ways = np.cumprod((count - numbers + 1) / numbers)
    return float(np.sum(ways * kept**numbers * (1 - kept) ** (count - numbers) / numbers))
