"""FedZip: how small by the paper's counting, how small in real bytes, and what accuracy remains.

    python -m benchmarks.fedzip [--quick] [--data-dir DIR] [--fleets NAME ...] [--json FILE]

First sizes on one real update: the share z of the weights that is kept, k clusters, and the three
encodings. *paper* counts bits as the paper's program does, which cannot be decoded; *real* is all
bytes of all frames, headers included; both as factors against 32-bit floats. Then the share at
which each reaches 1085, the paper's headline, and the accuracy after federated training with it.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.cohort import Scheme, run
from benchmarks.contenders import decoded, encode_once, wire_bits
from benchmarks.federated import COHORTS
from benchmarks.fleet import FLEETS, Fleet
from benchmarks.real_updates import ROUNDS, RealUpdate, real_updates
from edge_sdk.codecs import Float32
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.fedzip_streams import Encoding

HEADLINE = 1085.0
KEEPS = (0.4, 0.2, 0.1, 0.05, 0.01, 0.003)

Row = dict[str, float | str]


def paper_factor(codec: FedZip, update: RealUpdate) -> float:
    """32-bit floats over bits as the paper's program counts them."""
    return 32 * len(update.vector) / codec.paper_bits(update.vector)


def real_factor(codec: FedZip, update: RealUpdate) -> float:
    """32-bit floats over bits on the wire."""
    return 32 / wire_bits(encode_once(codec, update.vector, seed=0), len(update.vector))


def left_out(codec: FedZip, update: RealUpdate) -> float:
    """Squared error over the squared norm."""
    payloads = encode_once(codec, update.vector, seed=0)
    wide = update.vector.astype(np.float64)
    error = decoded(codec, payloads, len(wide), seed=0) - wide
    return float(np.sum(error**2) / np.sum(wide**2))


def keep_for(
    factor: Callable[[FedZip, RealUpdate], float], update: RealUpdate, encoding: Encoding
) -> float | None:
    """The largest share that reaches `HEADLINE` by this count; None if none does."""
    low, high = 1 / len(update.vector), 1.0
    if factor(FedZip(low, 3, encoding, update.layout), update) < HEADLINE:
        return None
    for _ in range(20):
        middle = math.sqrt(low * high)
        reached = factor(FedZip(middle, 3, encoding, update.layout), update) >= HEADLINE
        low, high = (middle, high) if reached else (low, middle)
    return low


def size_rows(update: RealUpdate) -> list[Row]:
    """Factors of every share, number of clusters and encoding."""
    rows: list[Row] = []
    for k in (3, 15):
        for keep in KEEPS:
            row: Row = {"z": keep, "k": float(k)}
            for encoding in Encoding:
                codec = FedZip(keep, k, encoding, update.layout)
                name = encoding.name.lower()
                row[f"paper {name}"] = paper_factor(codec, update)
                row[f"real {name}"] = real_factor(codec, update)
            row["nmse"] = left_out(FedZip(keep, k, layout=update.layout), update)
            rows.append(row)
    return rows


def headline_rows(update: RealUpdate) -> list[Row]:
    """Which share gives 1085 times, by each way of counting, and how much of an update is lost."""
    rows: list[Row] = []
    for encoding in (Encoding.ADDRESSES, Encoding.DIFFERENCES):
        for count, factor in (("paper", paper_factor), ("real", real_factor)):
            keep = keep_for(factor, update, encoding)
            row: Row = {"encoding": encoding.name.lower(), "count": count}
            if keep is None:
                row["z"] = "not reached"
            else:
                codec = FedZip(keep, 3, encoding, update.layout)
                row |= {
                    "z": keep,
                    "paper": paper_factor(codec, update),
                    "real": real_factor(codec, update),
                    "nmse": left_out(codec, update),
                }
            rows.append(row)
    return rows


def accuracy_rows(fleet: Fleet, keeps: list[float], *, rounds: int, per_round: int) -> list[Row]:
    """Accuracy after federated training, with and without error feedback."""
    schemes = [
        Scheme("float32", lambda _fleet, _update: Float32()),
        Scheme("blockwise 0.033", lambda _fleet, _update: Blockwise(0.033)),
    ]
    for keep in keeps:
        schemes += [_scheme(keep, feedback=feedback) for feedback in (False, True)]
    rows: list[Row] = []
    for scheme in schemes:
        outcome = run(fleet, scheme, per_round=per_round, rounds=rounds, seed=0)
        rows.append(
            {
                "scheme": scheme.name,
                "factor": 32 / outcome.bits,
                "accuracy": outcome.accuracy,
            }
        )
        print_rows(rows[-1:], head=len(rows) == 1)
    return rows


def _scheme(keep: float, *, feedback: bool) -> Scheme:
    name = f"z={keep:.3g} k=3" + (" +EF" if feedback else "")
    return Scheme(name, lambda fleet, _: FedZip(keep, layout=fleet.layout), feedback=feedback)


def print_rows(rows: list[Row], *, head: bool = True) -> None:
    """Rows under their keys."""
    if head:
        print("  ".join(f"{key:>17}" for key in rows[0]))
    for row in rows:
        print(
            "  ".join(f"{v:>17}" if isinstance(v, str) else f"{v:17.4g}" for v in row.values()),
            flush=True,
        )


def main() -> None:
    """Sizes, the headline and accuracies for each fleet."""
    parser = argparse.ArgumentParser(description="FedZip's sizes and accuracies.")
    parser.add_argument("--quick", action="store_true", help="digits, few rounds")
    parser.add_argument("--data-dir", type=Path, help="folder of the .npz data sets")
    parser.add_argument("--fleets", nargs="+", choices=["digits-cnn", "writers-cnn"])
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    both = ["digits-cnn", "writers-cnn"]
    names = options.fleets or both[: 2 if options.data_dir and not options.quick else 1]
    made: dict[str, dict[str, list[Row]]] = {}
    for name in names:
        fleet = FLEETS[name](options.data_dir or Path())
        (update,) = real_updates(fleet, ROUNDS[name][1:2])
        print(f"\n{update.name}, {len(update.vector)} coordinates: factors against float32")
        sizes = size_rows(update)
        print_rows(sizes)
        print(f"\nthe share that gives {HEADLINE:g} times")
        headline = headline_rows(update)
        print_rows(headline)
        found = [row["z"] for row in headline if row["encoding"] == "differences"]
        keeps = [0.1, 0.01, *(z for z in found if isinstance(z, float))]
        per_round, rounds = COHORTS[name, "20%"]
        rounds = min(rounds, 10) if options.quick else rounds
        print(f"\n{name}, {per_round} devices a round, {rounds} rounds, encoding differences")
        accuracies = accuracy_rows(fleet, keeps, rounds=rounds, per_round=per_round)
        made[name] = {"sizes": sizes, "headline": headline, "accuracy": accuracies}
    if options.json:
        options.json.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
