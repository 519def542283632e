"""Error and time of every codec at total wire rates, on normal values and on real updates.

    python -m benchmarks.codec [--quick] [--data-dir DIR] [--json FILE] [--details FILE]

Error (NMSE) is |decoded - vector|**2 / |vector|**2, mean over seeds. Wire bits are all bytes of all
frames, headers included, per coordinate. Times are processor time, the least over the seeds. Real
updates come from training on the spot (`real_updates`); with `--data-dir` also on the data sets
there. `--quick` takes fewer of everything and ends within 50 s.

`--json` holds `{data set: {codec: {wire rate: {"wire_bits", "nmse", "encode_ms_per_million",
"decode_ms_per_million"}}}}`; `--details` the checks of bias and loss, time beside textbook EDEN and
peak memory.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from benchmarks.codec_checks import Row as CheckRow
from benchmarks.codec_checks import bias_rows, loss_rows
from benchmarks.codec_speed import Row as SpeedRow
from benchmarks.codec_speed import memory_rows, round_rows, speed_rows
from benchmarks.contenders import FAMILIES, FIXED, RATES, Subject, decoded, encode_once, wire_bits
from benchmarks.fleet import FLEETS
from benchmarks.real_updates import ROUNDS, real_updates
from benchmarks.textbook_eden import error_of_eden
from edge_sdk.interfaces import Codec
from edge_sdk.values import Vector

Figures = dict[str, float]
"""`wire_bits`, `nmse`, `encode_ms_per_million`, `decode_ms_per_million`."""
Made = dict[str, dict[str, dict[str, Figures]]]

BIASED = ("deadzone", "topk", "fedzip", "sign")

GAUSSIAN_TARGETS = dict(zip(RATES, (40, 10.8, 4.1, 1.75, 0.59, 0.107, 0.025, 0.0063), strict=True))
"""Most NMSE of the best unbiased codec on normal values; set when the codecs were designed."""
REAL_TARGETS = dict(zip(RATES, (0.75, 0.60, 0.50, 0.46, 0.48, 0.33, 0.25, 0.20), strict=True))
"""Most NMSE of `blockwise` over EDEN's on updates of networks trained with SGD."""


def measure(codec: Codec, vector: Vector, *, draws: int) -> Figures:
    """Encode and decode `draws` times, each with its own seed."""
    wide = vector.astype(np.float64)
    energy = float(np.sum(wide**2))
    errors, bits, encode_s, decode_s = [], [], [], []
    for seed in range(draws):
        started = time.process_time()
        payloads = encode_once(codec, vector, seed=seed)
        between = time.process_time()
        result = decoded(codec, payloads, len(vector), seed=seed)
        ended = time.process_time()
        encode_s.append(between - started)
        decode_s.append(ended - between)
        bits.append(wire_bits(payloads, len(vector)))
        errors.append(float(np.sum((result - wide) ** 2)) / energy)
    return {
        "wire_bits": float(np.mean(bits)),
        "nmse": float(np.mean(errors)),
        "encode_ms_per_million": min(encode_s) * 1e9 / len(vector),
        "decode_ms_per_million": min(decode_s) * 1e9 / len(vector),
    }


def bound(bits: float) -> float:
    """Least error of any unbiased code at `bits` per coordinate of normal values."""
    return 1 / (math.pow(4, bits) - 1)


def subjects(*, quick: bool, data_dir: Path | None) -> Iterator[tuple[str, Subject]]:
    """What is encoded, by name; real updates of one fleet after the other."""
    normal = np.random.default_rng(1).standard_normal(1 << (18 if quick else 20), np.float32)
    yield "gaussian", Subject(normal)
    for name, make in FLEETS.items():
        if data_dir is None and not name.startswith("digits"):
            continue
        rounds = (ROUNDS[name][1],) if quick else ROUNDS[name]
        for update in real_updates(make(data_dir or Path()), rounds):
            yield update.name, Subject(update.vector, update.layout)


def figures(subject: Subject, *, draws: int) -> Iterator[tuple[str, str, Figures]]:
    """(codec, wire rate, figures): families at the rates they reach, then the fixed ones."""
    for family, at in FAMILIES.items():
        for rate in RATES:
            codec = at(rate, subject)
            if codec is not None:
                yield family, f"{rate:g}", measure(codec, subject.vector, draws=draws)
    for name, codec in FIXED.items():
        made = measure(codec, subject.vector, draws=1)
        yield name, f"{made['wire_bits']:.3g}", made


def main() -> None:
    """Measure, print and write."""
    options = _options()
    made: Made = {}
    print(__doc__.splitlines()[0] if __doc__ else "")
    for name, subject in subjects(quick=options.quick, data_dir=options.data_dir):
        made[name] = {}
        for family, rate, each in figures(subject, draws=2 if options.quick else 3):
            made[name].setdefault(family, {})[rate] = each
        _print_data_set(name, len(subject.vector), made[name])
    if options.json:
        _write(options.json, made)
    details: dict[str, list[CheckRow] | list[SpeedRow]] = {
        "bias": _shown("Bias: |mean - x|^2 / |x|^2", bias_rows(quick=options.quick)),
        "loss": _shown("Lost chunks", loss_rows(quick=options.quick)),
        "time": _shown(
            "Time beside textbook EDEN (numpy, same run)", speed_rows(quick=options.quick)
        ),
        "rounds": _shown("A server's time per device", round_rows(quick=options.quick)),
        "memory": _shown("Peak memory beyond the vector", memory_rows(quick=options.quick)),
    }
    if options.details:
        _write(options.details, details)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Error and time of every codec.")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller vectors and draws")
    parser.add_argument("--data-dir", type=Path, help="folder of the .npz data sets")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--details", type=Path, help="write bias, loss, time and memory here")
    return parser.parse_args()


def _write(path: Path, what: object) -> None:
    path.write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")


def _print_data_set(name: str, size: int, made: Mapping[str, Mapping[str, Figures]]) -> None:
    """NMSE by codec and rate, then the comparison with the targets and the times."""
    print(f"\n{name}, {size} coordinates: NMSE at total wire bits per coordinate")
    print(f"{'':16}" + "".join(f"{rate:>10g}" for rate in RATES))
    print(f"{'bound, normal':16}" + "".join(f"{bound(rate):10.3g}" for rate in RATES))
    print(f"{'EDEN (formula)':16}" + "".join(f"{error_of_eden(rate):10.3g}" for rate in RATES))
    for family in FAMILIES:
        if family in made:
            mark = " b" if family in BIASED else ""
            print(f"{family + mark:16}" + _across(made[family], "nmse"))
    for family in FIXED:
        mark = " b" if family in BIASED else ""
        for each in made[family].values():
            print(f"{family + mark:16}{each['nmse']:10.3g} at {each['wire_bits']:.3g} bits")
    print("b: biased; its NMSE is not to be compared with that of the others")
    _print_targets(name, made)
    print("wire bits made  " + _across(made["blockwise"], "wire_bits") + "  (blockwise)")
    for what in ("encode", "decode"):
        print(f"{what} ms per million")
        for family in FAMILIES:
            if family in made:
                print(f"  {family:14}" + _across(made[family], f"{what}_ms_per_million", "10.1f"))
    sys.stdout.flush()


def _across(by_rate: Mapping[str, Figures], key: str, form: str = "10.3g") -> str:
    """One cell for each rate."""
    cells = (by_rate.get(f"{rate:g}") for rate in RATES)
    return "".join(f"{each[key]:{form}}" if each else f"{'-':>10}" for each in cells)


def _print_targets(name: str, made: Mapping[str, Mapping[str, Figures]]) -> None:
    """How far from the targets: over 1 is missed. EDEN is its formula at the bits really made."""
    missed = dict.fromkeys(RATES, math.nan)
    for rate in RATES:
        each = made["blockwise"][f"{rate:g}"]
        if name == "gaussian":
            missed[rate] = each["nmse"] / GAUSSIAN_TARGETS[rate]
        else:
            missed[rate] = each["nmse"] / error_of_eden(each["wire_bits"]) / REAL_TARGETS[rate]
    kind = "blockwise/target" if name == "gaussian" else "bw/EDEN/target"
    print(f"{kind:16}" + "".join(f"{missed[rate]:10.2f}" for rate in RATES))


def _shown(title: str, rows: Iterator[dict[str, float | str]]) -> list[dict[str, float | str]]:
    """Print rows as they come, under a head of their keys; all of them."""
    print(f"\n{title}")
    made: list[dict[str, float | str]] = []
    for row in rows:
        if not made:
            print("  ".join(f"{key:>14}" for key in row))
        print("  ".join(f"{v:>14}" if isinstance(v, str) else f"{v:14.4g}" for v in row.values()))
        sys.stdout.flush()
        made.append(row)
    return made


if __name__ == "__main__":
    main()
