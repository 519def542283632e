"""Error and time of every codec at its wire rate.

    python -m benchmarks.codec [--quick] [--json FILE]

Error is |decoded - vector|**2 / |vector|**2, mean over draws; wire bits are all bytes of all
frames, headers included, per coordinate; times are the least of some repeats, on one thread.
"""

import argparse
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from edge_sdk.codecs import SPECS, codec_from_spec
from edge_sdk.interfaces import Codec
from edge_sdk.values import Place, Vector
from edge_sdk.wire import HEADER_BYTES

FRAME_BYTES = 65_536

DataSets = dict[str, Callable[[int], Vector]]
"""By name: the vector of a draw."""


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What one codec does to one data set."""

    wire_bits: float
    nmse: float
    encode_ms_per_million: float
    decode_ms_per_million: float


def data_sets(size: int) -> DataSets:
    """Vectors of `size` coordinates by data set and draw."""

    def gaussian(draw: int) -> Vector:
        return np.random.default_rng(draw).standard_normal(size).astype(np.float32)

    return {"gaussian": gaussian}


def measure(codec: Codec, vectors: Callable[[int], Vector], *, draws: int) -> Figures:
    """Encode and decode `draws` vectors, each with its own seed."""
    errors, bits, encode_s, decode_s = [], [], [], []
    for seed in range(draws):
        vector = vectors(seed)
        decoded = np.zeros(len(vector), np.float32)
        started = time.perf_counter()
        payloads = codec.encode(vector, seed=seed, chunk_bytes=FRAME_BYTES - HEADER_BYTES)
        between = time.perf_counter()
        for index, payload in enumerate(payloads):
            piece = codec.decode(payload, Place(len(vector), index, len(payloads), seed))
            piece.where.put(piece.values, decoded)
        ended = time.perf_counter()
        encode_s.append((between - started) / len(vector))
        decode_s.append((ended - between) / len(vector))
        bits.append(8 * sum(HEADER_BYTES + len(p) for p in payloads) / len(vector))
        wide = vector.astype(np.float64)
        errors.append(float(np.sum((decoded - wide) ** 2) / np.sum(wide**2)))
    return Figures(
        wire_bits=float(np.mean(bits)),
        nmse=float(np.mean(errors)),
        encode_ms_per_million=min(encode_s) * 1e9,
        decode_ms_per_million=min(decode_s) * 1e9,
    )


def bound(bits: float) -> float:
    """Least error of any unbiased code at `bits` per coordinate of normal values."""
    return 1 / (math.pow(4, bits) - 1)


def rows(*, quick: bool) -> Iterator[tuple[str, str, Figures]]:
    """(data set, codec, figures) for everything."""
    for name, vectors in data_sets(1 << 18 if quick else 1 << 20).items():
        for spec in SPECS:
            yield name, spec, measure(codec_from_spec(spec), vectors, draws=5 if quick else 10)


def main() -> None:
    """Print the table; with `--json` write it as well."""
    parser = argparse.ArgumentParser(description="Error and time of every codec.")
    parser.add_argument("--quick", action="store_true", help="smaller vectors, fewer draws")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    made: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    print(
        f"{'data':10} {'codec':28} {'bits':>8} {'nmse':>11} {'bound':>11} {'enc ms/M':>9} dec ms/M"
    )
    for data, spec, figures in rows(quick=options.quick):
        rate = f"{figures.wire_bits:.3g}"
        made.setdefault(data, {}).setdefault(spec, {})[rate] = dataclasses.asdict(figures)
        print(
            f"{data:10} {spec:28} {figures.wire_bits:8.4f} {figures.nmse:11.4g} "
            f"{bound(figures.wire_bits):11.4g} {figures.encode_ms_per_million:9.1f} "
            f"{figures.decode_ms_per_million:8.1f}"
        )
        sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
