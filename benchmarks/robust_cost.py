"""Processor time of each aggregation rule over updates that are decoded again, in seconds.

python -m benchmarks.robust_cost [--updates N] [--dimension N] [--codec SPEC]
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.contenders import encode_once
from edge_sdk.codecs import codec_from_spec
from edge_sdk.values import Piece, Place
from server_ref.robust import Stored, combine, rule_from_spec

RULES = ("mean", "clip", "median", "trimmed:beta=0.1", "krum:f=1")


def stored_update(spec: str, dimension: int, *, seed: int) -> Stored:
    """Normal values, encoded; decoded chunk by chunk when asked for."""
    codec = codec_from_spec(spec)
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    payloads = encode_once(codec, vector, seed=seed)
    places = [Place(dimension, index, len(payloads), seed) for index in range(len(payloads))]
    wheres = [codec.decode(p, place).where for p, place in zip(payloads, places, strict=True)]

    def pieces(first: int, end: int) -> Iterator[Piece]:
        for payload, place, where in zip(payloads, places, wheres, strict=True):
            if where.first < end and where.end > first:
                yield codec.decode(payload, place)

    return Stored(1.0, pieces)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robust_cost", description=__doc__)
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--dimension", type=int, default=1_000_000)
    parser.add_argument("--codec", default="eden:bits=2")
    options = parser.parse_args()
    updates = [
        stored_update(options.codec, options.dimension, seed=seed)
        for seed in range(options.updates)
    ]
    limit = 0.9 * options.dimension**0.5
    for spec in RULES:
        started = time.process_time()
        combine(rule_from_spec(spec), updates, options.dimension, limit=limit)
        print(f"{spec:18} {time.process_time() - started:6.2f} s")


if __name__ == "__main__":
    main()
