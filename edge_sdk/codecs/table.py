"""All codecs by name and by wire id. A new codec is one file and one row here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_sdk.codecs import eden, raw
from edge_sdk.codecs.eden import Eden
from edge_sdk.codecs.raw import Float16, Float32
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.interfaces import Codec

_SPEC = re.compile(r"([a-z][a-z0-9-]{0,31})(?::([a-z0-9=.,+-]{1,96}))?")


@dataclass(frozen=True, slots=True)
class Row:
    """One family of codecs."""

    name: str
    """The word before the colon of a spec."""
    wire_id: int
    """The frame header's codec field."""
    parameters: Mapping[int, Codec]
    """Every codec of the family by the frame header's parameter field."""


_EDENS = tuple(Eden(bits, rounds) for rounds in (2, 1, 3) for bits in range(1, 9))

TABLE = (
    Row("float32", raw.WIRE_ID, {32: Float32()}),
    Row("float16", raw.WIRE_ID, {16: Float16()}),
    Row("eden", eden.WIRE_ID, {codec.parameter: codec for codec in _EDENS}),
)

_BY_IDS = {(row.wire_id, p): codec for row in TABLE for p, codec in row.parameters.items()}
_BY_SPEC = {codec.spec: ids for ids, codec in _BY_IDS.items()}

SPECS = tuple(_BY_SPEC)
"""The spec of every codec this release can read and write."""


def codec_from_spec(spec: str) -> Codec:
    """The codec that `spec` names, e.g. `eden:bits=2`.

    Raises:
        Misuse: not the form of a spec.
        Unsupported: a name or parameter this release does not know.
    """
    if not _SPEC.fullmatch(spec):
        raise Misuse(f"{spec!r} is not a codec spec like 'eden:bits=2'")
    if spec not in _BY_SPEC:
        raise Unsupported(f"codec {spec!r}; known: {', '.join(SPECS)}")
    return _BY_IDS[_BY_SPEC[spec]]


def codec_from_frame(codec: int, parameter: int) -> Codec:
    """The codec that a frame header's two fields name.

    Raises:
        Unsupported: this release does not know them.
    """
    if (codec, parameter) not in _BY_IDS:
        raise Unsupported(f"codec {codec} with parameter {parameter}")
    return _BY_IDS[codec, parameter]


def frame_ids(codec: Codec) -> tuple[int, int]:
    """The frame header's `codec` and `parameter` fields for `codec`.

    Raises:
        Misuse: not a codec of the table, so no frame can carry it.
    """
    if codec.spec not in _BY_SPEC:
        raise Misuse(f"codec {codec.spec!r} has no wire id")
    return _BY_SPEC[codec.spec]
