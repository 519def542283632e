"""All codecs by name and by wire id. A new codec is one file and one row here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge_sdk.codecs import (
    blockwise,
    deadzone,
    dithered,
    eden,
    eden_entropy,
    fedzip,
    lowrank,
    qsgd,
    raw,
    sign,
    topk,
)
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.dithered import Dithered
from edge_sdk.codecs.eden import Eden
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.eden_mixed import EdenMixed
from edge_sdk.codecs.eden_scales import Scale
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.fedzip_streams import Encoding
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.qsgd import Qsgd
from edge_sdk.codecs.raw import Float16, Float32
from edge_sdk.codecs.sign import Sign
from edge_sdk.codecs.topk import RandomK, TopK
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.interfaces import Codec

Words = Mapping[str, str]
"""What stands behind the colon of a spec: `bits=2,rounds=3` is `{"bits": "2", "rounds": "3"}`."""

_SPEC = re.compile(r"([a-z][a-z0-9-]{0,31})(?::([a-z0-9=.,+-]{1,96}))?")


class FramedCodec(Codec, Protocol):
    """A codec that a frame header can name."""

    @property
    def parameter(self) -> int:
        """The header's parameter field, 0 to 255; with the wire id enough to decode."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One family of codecs."""

    name: str
    """The word before the colon of a spec."""
    wire_id: int
    """The frame header's codec field, 1 to 255; never used for anything else again."""
    from_words: Callable[[Words], FramedCodec]
    """Makes the codec a spec names; raises `Misuse` or `ValueError` on what it does not know."""
    from_parameter: Callable[[int], FramedCodec]
    """Makes a codec that decodes; raises `Misuse` on a parameter it does not know."""
    specs: tuple[str, ...]
    """All specs, or where parameters are free some typical ones."""


def whole_numbers(words: Words, *known: str) -> dict[str, int]:
    """`words` as whole numbers.

    Raises:
        Misuse: a word that is not in `known`.
        ValueError: not a whole number.
    """
    for word in words:
        if word not in known:
            raise Misuse(f"no parameter {word!r}")
    return {word: int(text) for word, text in words.items()}


def _eden(words: Words) -> Eden | EdenMixed:
    scale = Scale(words.get("scale", Scale.UNBIASED))
    rounds = int(words.get("rounds", "2"))
    if "rate" in words:
        return EdenMixed(_real(words, "rate", "rounds", "scale"), rounds, scale)
    if "bits" not in words:
        raise Misuse("eden needs bits=1 to bits=8 or rate=…")
    rest = {word: text for word, text in words.items() if word != "scale"}
    return Eden(whole_numbers(rest, "bits", "rounds")["bits"], rounds, scale)


def _eden_from(parameter: int) -> Eden | EdenMixed:
    bits, rounds = parameter & 15, parameter >> 4
    return Eden(bits, rounds) if bits else EdenMixed(1.0, rounds)


def _real(words: Words, name: str, *others: str) -> float:
    """The word `name`, which must be there, as a real number; of others only `others` may be.

    Raises:
        Misuse: `name` is missing, or a word is not known.
        ValueError: not a number.
    """
    if name not in words:
        raise Misuse(f"needs {name}=…")
    for word in words:
        if word not in (name, *others):
            raise Misuse(f"no parameter {word!r}")
    return float(words[name])


def _topk(words: Words) -> TopK:
    return TopK(share=_real(words, "share", "values"), values=int(words.get("values", "16")))


def _randomk(words: Words) -> RandomK:
    return RandomK(share=_real(words, "share", "values"), values=int(words.get("values", "16")))


def _fedzip(words: Words) -> FedZip:
    keep = _real(words, "keep", "k", "encoding")
    names = {encoding.name.lower(): encoding for encoding in Encoding}
    name = words.get("encoding", "differences")
    if name not in names:
        raise Misuse(f"encoding {name!r}; known: {', '.join(names)}")
    return FedZip(keep=keep, k=int(words.get("k", "3")), encoding=names[name])


def _fedzip_from(parameter: int) -> FedZip:
    if parameter not in tuple(Encoding):
        raise Misuse(f"parameter {parameter}")
    return FedZip(encoding=Encoding(parameter))


def _dithered(words: Words) -> Dithered:
    return Dithered(_real(words, "rate", "rotation"), rotation=int(words.get("rotation", "0")))


def _dithered_from(parameter: int) -> Dithered:
    return Dithered(rate=1.0, **_only_zero(parameter))


def _deadzone_from(parameter: int) -> DeadZone:
    return DeadZone(rate=1.0, **_only_zero(parameter))


def _lowrank_from(parameter: int) -> LowRank:
    _only_zero(parameter)
    return LowRank(rate=1.0)


def _only_zero(parameter: int) -> dict[str, int]:
    """No arguments, for a codec whose parameter field is always zero."""
    if parameter:
        raise Misuse(f"parameter {parameter}")
    return {}


TABLE = (
    Row(
        "float32",
        raw.FLOAT32_WIRE_ID,
        from_words=lambda words: Float32(**whole_numbers(words)),
        from_parameter=lambda parameter: Float32(**_only_zero(parameter)),
        specs=("float32",),
    ),
    Row(
        "float16",
        raw.FLOAT16_WIRE_ID,
        from_words=lambda words: Float16(**whole_numbers(words)),
        from_parameter=lambda parameter: Float16(**_only_zero(parameter)),
        specs=("float16",),
    ),
    Row(
        "eden",
        eden.WIRE_ID,
        from_words=_eden,
        from_parameter=_eden_from,
        specs=(
            *(Eden(bits).spec for bits in range(1, 9)),
            Eden(1, scale=Scale.MSE).spec,
            *(EdenMixed(rate).spec for rate in (0.1, 1.5)),
        ),
    ),
    Row(
        "topk",
        topk.TOPK_WIRE_ID,
        from_words=_topk,
        from_parameter=lambda parameter: TopK(share=1.0, values=parameter),
        specs=(TopK(0.01).spec, TopK(0.01, values=32).spec),
    ),
    Row(
        "randomk",
        topk.RANDOMK_WIRE_ID,
        from_words=_randomk,
        from_parameter=lambda parameter: RandomK(share=1.0, values=parameter),
        specs=(RandomK(0.1).spec, RandomK(0.1, values=32).spec),
    ),
    Row(
        "sign",
        sign.WIRE_ID,
        from_words=lambda words: Sign(**whole_numbers(words)),
        from_parameter=lambda parameter: Sign(**_only_zero(parameter)),
        specs=("sign",),
    ),
    Row(
        "fedzip",
        fedzip.WIRE_ID,
        from_words=_fedzip,
        from_parameter=_fedzip_from,
        specs=tuple(FedZip(encoding=encoding).spec for encoding in Encoding),
    ),
    Row(
        "deadzone",
        deadzone.WIRE_ID,
        from_words=lambda words: DeadZone(_real(words, "rate")),
        from_parameter=_deadzone_from,
        specs=tuple(DeadZone(rate).spec for rate in (0.1, 1.0)),
    ),
    Row(
        "dithered",
        dithered.WIRE_ID,
        from_words=_dithered,
        from_parameter=_dithered_from,
        specs=(Dithered(2.0).spec,),
    ),
    Row(
        "qsgd",
        qsgd.WIRE_ID,
        from_words=lambda words: Qsgd(**whole_numbers(words, "levels", "bucket")),
        from_parameter=lambda parameter: Qsgd(levels=parameter),
        specs=(Qsgd().spec, Qsgd(levels=16).spec),
    ),
    Row(
        "blockwise",
        blockwise.WIRE_ID,
        from_words=lambda words: Blockwise(_real(words, "rate")),
        from_parameter=lambda parameter: Blockwise(rate=1.0, **_only_zero(parameter)),
        specs=tuple(Blockwise(rate).spec for rate in (0.1, 2.0)),
    ),
    Row(
        "lowrank",
        lowrank.WIRE_ID,
        from_words=lambda words: LowRank(_real(words, "rate")),
        from_parameter=_lowrank_from,
        specs=(LowRank(0.5).spec,),
    ),
    Row(
        "eden-entropy",
        eden_entropy.WIRE_ID,
        from_words=lambda words: EdenEntropy(_real(words, "rate")),
        from_parameter=lambda parameter: EdenEntropy(rate=1.0, **_only_zero(parameter)),
        specs=tuple(EdenEntropy(rate).spec for rate in (0.1, 2.0)),
    ),
)

_BY_NAME = {row.name: row for row in TABLE}
_BY_WIRE_ID = {row.wire_id: row for row in TABLE}

SPECS = tuple(spec for row in TABLE for spec in row.specs)
"""The specs of this release; where parameters are free, typical ones."""


def words_of(spec: str) -> tuple[str, Words]:
    """A spec's name and what stands behind its colon.

    Raises:
        Misuse: not the form of a spec.
    """
    match = _SPEC.fullmatch(spec)
    if not match:
        raise Misuse(f"{spec!r} is not a codec spec like 'eden:bits=2'")
    name, text = match.groups()
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    words = {word: value for word, _, value in pairs}
    if len(words) != len(pairs):
        raise Misuse(f"{spec!r} says something twice")
    return name, words


def codec_from_spec(spec: str) -> FramedCodec:
    """The codec that `spec` names, e.g. `eden:bits=2`.

    Raises:
        Misuse: not the form of a spec.
        Unsupported: a name or parameter this release does not know.
    """
    name, words = words_of(spec)
    if name not in _BY_NAME:
        raise Unsupported(f"codec {name!r}; known: {', '.join(_BY_NAME)}")
    try:
        return _BY_NAME[name].from_words(words)
    except (Misuse, ValueError) as error:
        raise Unsupported(f"codec {spec!r}: {error}") from None


def codec_from_frame(codec: int, parameter: int) -> FramedCodec:
    """A codec that decodes what a frame header's two fields name.

    Its spec names what is needed to decode; an encoder may have had further settings. To ask
    whether a frame was made as a spec says, compare with `frame_ids(codec_from_spec(spec))`.

    Raises:
        Unsupported: this release does not know them.
    """
    if codec not in _BY_WIRE_ID:
        raise Unsupported(f"codec {codec}")
    try:
        return _BY_WIRE_ID[codec].from_parameter(parameter)
    except Misuse as error:
        raise Unsupported(f"codec {codec}: {error}") from None


def frame_ids(codec: Codec) -> tuple[int, int]:
    """The frame header's `codec` and `parameter` fields for `codec`.

    Raises:
        Misuse: not a codec of the table, so no frame can carry it.
    """
    row = _BY_NAME.get(codec.spec.partition(":")[0])
    parameter = getattr(codec, "parameter", None)
    if row is None or not isinstance(parameter, int):
        raise Misuse(f"codec {codec.spec!r} has no wire id")
    return row.wire_id, parameter
