"""Fuzz every payload decoder: any bytes give a value or `Malformed`, in bounded memory and time.

    pip install atheris
    python scripts/fuzz_codecs.py CORPUS [--codec NAME] [-max_total_time=SECONDS ...]

CORPUS is a folder; real payloads of every codec are put there first, and what the fuzzer finds
after them. Other options go to libFuzzer; its limits are 10 s and 2 GiB for one input unless others
are given. An input that breaks the promise is kept in the current folder and its trace printed.

An input is a codec's row, its parameter, whether the dimension may be large, dimension, chunk
index, chunk count and seed, then the payload.
"""

import argparse
import hashlib
import importlib
import struct
import sys
from pathlib import Path

import numpy as np

from edge_sdk.codecs.table import SPECS, TABLE, codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.errors import Malformed
from edge_sdk.values import Piece, Place
from edge_sdk.wire.frame import MAX_DIMENSION

HEAD = struct.Struct("<BBBIHHQ")
SMALL = 1 << 16
"""Dimensions stay below, unless an input says otherwise: large ones are slow."""
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=8192")


def decode_any(data: bytes, *, only: int | None = None) -> Piece | None:
    """Decode what `data` describes; None where it is refused or is no input.

    Raises:
        Exception: the promise is broken.
    """
    if len(data) < HEAD.size:
        return None
    row, parameter, large, dimension, index, count, seed = HEAD.unpack_from(data)
    wire_id = TABLE[row % len(TABLE)].wire_id if only is None else only
    dimension = 1 + dimension % (MAX_DIMENSION if large == 255 else SMALL)
    place = Place(dimension, index % max(count, 1), max(count, 1), seed % 2**53)
    try:
        piece = codec_from_frame(wire_id, parameter).decode(data[HEAD.size :], place)
    except Malformed:
        return None
    _require_sound(piece, place)
    return piece


def _require_sound(piece: Piece, place: Place) -> None:
    """Raise `AssertionError` for a piece that a server could not add."""
    if piece.values.dtype != np.float32 or piece.values.shape != (piece.where.size,):
        raise AssertionError(f"{piece.values.dtype} {piece.values.shape} for {piece.where}")
    if piece.where.end > place.dimension:
        raise AssertionError(f"{piece.where} of {place}")
    if not np.isfinite(piece.values).all():
        raise AssertionError("not finite")


def seeds() -> list[bytes]:
    """Real payloads of every codec for vectors of some sizes, as inputs."""
    rows = {row.wire_id: number for number, row in enumerate(TABLE)}
    rng = np.random.default_rng(0)
    made: list[bytes] = []
    for size in (1, 40, 700, 5000):
        even = rng.standard_normal(size).astype(np.float32)
        uneven = (even**3 * (rng.random(size) < 0.2)).astype(np.float32)
        for vector in (even, uneven):
            for spec in SPECS:
                codec = codec_from_spec(spec)
                wire_id, parameter = frame_ids(codec)
                payloads = codec.encode(vector, seed=7, chunk_bytes=4096)
                for index, payload in enumerate(payloads[:2]):
                    head = (rows[wire_id], parameter, 0, size - 1, index, len(payloads), 7)
                    made.append(HEAD.pack(*head) + payload)
    return made


def main() -> None:
    """Write the seeds and hand over to libFuzzer."""
    parser = argparse.ArgumentParser(description="Fuzz every payload decoder.")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--codec", choices=[row.name for row in TABLE], help="only this one")
    options, others = parser.parse_known_args()
    try:
        atheris = importlib.import_module("atheris")  # optional: only here
    except ImportError:
        sys.exit("needs atheris: pip install atheris")
    options.corpus.mkdir(parents=True, exist_ok=True)
    for data in seeds():
        (options.corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    only = next((row.wire_id for row in TABLE if row.name == options.codec), None)

    def one_input(data: bytes) -> None:
        decode_any(data, only=only)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *LIMITS, *others, str(options.corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
