"""Pick the codec for one update: the least predicted error at a number of wire bits.

`auto:rate=0.5` is a *choice* of codec, not a codec: a server offers it, a policy chooses it, and a
device resolves it for every update (`choose`) into one of the codecs of `candidates`, which the
frame header then names. So no decoder knows of it; a server admits what `admitted_ids` lists.

The rules are those that measurements on real updates support:

* An unbiased codec, at any rate, as long as the noise in the mean, its error over the number of
  updates averaged, is below `shrinkage.FEEDBACK_PAYS`: small noise is harmless, and a mean that the
  server shrinks (`shrinkage.judge`) trained better than error feedback.
* With more noise than that a device that keeps a residual does better with a biased code.
* Among unbiased codecs `lowrank` is worth its time where it predicts clearly less error; else
  `blockwise`. Both decide for every block of the model what it gets: blockwise a level for each
  block of 64 to 4096 coordinates, lowrank a rank for each matrix, 0 allowed.
"""

import dataclasses

from edge_sdk.codecs.blockwise import LEAST_RATE, MOST_RATE, Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.lowrank import LowRank, matrices_of
from edge_sdk.codecs.raw import Float16, Float32
from edge_sdk.codecs.shrinkage import FEEDBACK_PAYS
from edge_sdk.codecs.table import FramedCodec, codec_from_spec, frame_ids, words_of
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.values import Layout, Vector

NAME = "auto"

FLOAT32_RATE = 32.5
"""From here on a vector of any usual size fits as it is, headers included."""
FLOAT16_RATE = 16.5
MOST_AUTO_RATE = 64.0

HALF_ERROR = 2.0**-21 / 12
"""Error of float16: rounding in steps of 2**-11 to 2**-10 of a coordinate."""

CLEARLY = 0.9
"""Share of the plain prediction below which low-rank parts are worth their time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Chosen:
    """A codec and why."""

    codec: FramedCodec
    vnmse: float | None
    """Predicted squared error over the squared norm; None for biased codecs, whose error is no
    noise and is made up for by feedback."""
    feedback: bool
    """Whether the update must go through error feedback (`memory`)."""
    why: str
    """A sentence for people."""


@dataclasses.dataclass(frozen=True, slots=True)
class Auto:
    """What an `auto` spec says."""

    rate: float
    """Wire bits per coordinate, frame headers included, from .01."""

    def __post_init__(self) -> None:
        if not LEAST_RATE <= self.rate <= MOST_AUTO_RATE:
            raise Misuse(f"auto takes rates of {LEAST_RATE} to {MOST_AUTO_RATE}, not {self.rate}")

    @property
    def spec(self) -> str:
        """The text that names this choice, e.g. `auto:rate=0.5`."""
        return f"{NAME}:rate={self.rate:.12g}"


def auto_from_spec(spec: str) -> Auto | None:
    """What an `auto` spec says; None for the spec of any codec.

    Raises:
        Misuse: not the form of a spec.
        Unsupported: an `auto` that this release does not know.
    """
    name, words = words_of(spec)
    if name != NAME:
        return None
    if set(words) != {"rate"}:
        raise Unsupported(f"{spec!r}: needs rate=… and nothing else")
    try:
        return Auto(float(words["rate"]))
    except (Misuse, ValueError) as error:
        raise Unsupported(f"{spec!r}: {error}") from None


def canonical_spec(spec: str) -> str:
    """The same text for every way to write the spec of a codec or of `auto`.

    Raises:
        Misuse: not the form of a spec.
        Unsupported: a name or parameter this release does not know.
    """
    auto = auto_from_spec(spec)
    return codec_from_spec(spec).spec if auto is None else auto.spec


def candidates(rate: float) -> tuple[str, ...]:
    """Specs of all codecs that `choose` may pick at `rate`.

    Raises:
        Misuse: `rate` is out of bounds.
    """
    rate = Auto(rate).rate
    if rate >= FLOAT32_RATE:
        return (Float32().spec,)
    if rate >= FLOAT16_RATE:
        return (Float16().spec,)
    made = min(rate, MOST_RATE)
    return Blockwise(made).spec, LowRank(made).spec, DeadZone(made).spec


def admitted_ids(spec: str) -> frozenset[tuple[int, int]]:
    """Codec and parameter fields of all frames that a device may send if `spec` is offered.

    Raises:
        Misuse: not the form of a spec.
        Unsupported: a name or parameter this release does not know.
    """
    auto = auto_from_spec(spec)
    specs = (spec,) if auto is None else candidates(auto.rate)
    return frozenset(frame_ids(codec_from_spec(each)) for each in specs)


def choose(
    vector: Vector,
    *,
    rate: float,
    chunk_bytes: int,
    updates: int = 1,
    keeps_residual: bool = False,
    layout: Layout | None = None,
) -> Chosen:
    """The codec for `vector`.

    Costs about as much as encoding where `layout` has matrices, a small part of it otherwise.

    Args:
        vector: the update, as it would be encoded.
        rate: wire bits per coordinate, frame headers included, from .01.
        chunk_bytes: limit of every payload.
        updates: how many updates the server averages in this round.
        keeps_residual: whether this device remembers a residual (`memory`). It is then up to
            `Chosen.feedback` whether this update leaves one; an unbiased code leaves none.
        layout: where the tensors lie; None if not known.

    Raises:
        Misuse: a number is out of bounds, or `vector` is none a codec takes.
    """
    if not rate >= LEAST_RATE or updates < 1:
        raise Misuse(f"rate {rate} from {LEAST_RATE}, {updates} updates from 1")
    if rate >= FLOAT32_RATE:
        return Chosen(Float32(), 0.0, feedback=False, why=f"{rate:g} bits hold every number as is")
    if rate >= FLOAT16_RATE:
        return Chosen(Float16(), HALF_ERROR, feedback=False, why=f"{rate:g} bits hold float16")
    best = _least_error(vector, min(rate, MOST_RATE), chunk_bytes, layout)
    load = (best.vnmse or 0.0) / updates
    if load < FEEDBACK_PAYS or not keeps_residual:
        return best
    why = (
        f"unbiased noise would be {load:.2g} times an update in the mean of {updates}, over "
        f"{FEEDBACK_PAYS:g}; the residual keeps what is left out"
    )
    return Chosen(DeadZone(min(rate, MOST_RATE)), None, feedback=True, why=why)


def _least_error(vector: Vector, rate: float, chunk_bytes: int, layout: Layout | None) -> Chosen:
    """The better of the two unbiased codecs that adapt to what they see."""
    plain = Blockwise(rate)
    error = plain.forecast(vector, chunk_bytes=chunk_bytes).error
    if layout is not None and layout.size != len(vector):
        raise Misuse(f"layout of {layout.size} for a vector of {len(vector)}")
    matrices = matrices_of(layout) if layout else ()
    if matrices:
        parts = LowRank(rate, matrices)
        less = parts.forecast(vector, chunk_bytes=chunk_bytes).error
        if less < CLEARLY * error:
            why = f"low-rank parts cut the predicted error from {error:.3g} to {less:.3g}"
            return Chosen(parts, less, feedback=False, why=why)
    why = f"predicted error {error:.3g} of the squared norm at {rate:g} bits"
    return Chosen(plain, error, feedback=False, why=why)
