"""Artemis and MCM on logistic regression over 20 devices that see different data.

    python -m benchmarks.artemis [--quick] [--data-dir DIR] [--data NAME] [--json FILE]
                                 [--plot FILE] [--jobs N]

Excess loss F(w) - F* against bits of frames, headers included, both ways, all devices. The optimum
is found in float64 (`artemis_problem`), the methods are in `artemis_methods`; all take the same
step. Three scenes: everybody with whole gradients (`artemis`), half of the devices in each round
(`artemis-half-pp2`), everybody with drawn batches (`artemis-drawn`). With `--data-dir` on a LIBSVM
set there, else on the bundled digits. `--quick` ends within 60 s on 2 cores.

`--json` holds `{"data", "devices", "dimension", "excess_log10": {method: …}, "bits": {method: …},
"bits_up", "bits_down", "payload_bits", "bits_to_target"}`; the last is null where the target was
not reached for good. `excess_log10` is the mean of the last tenth of the run.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.artemis_methods import Method, Outcome, Setting, qsgd_error, run
from benchmarks.artemis_plot import draw
from benchmarks.artemis_problem import SETS, Problem, load_problem

TARGET = 1e-3
"""Excess that `bits_to_target` counts to."""

STEP = 0.5
"""gamma in units of 1/L: the largest at which every method settles."""

SCENES: Mapping[str, Setting] = {
    "": Setting(rounds=1200, step=STEP),
    "-half": Setting(rounds=1200, step=STEP, taking_part=0.5),
    "-drawn": Setting(rounds=1200, step=STEP, batch=64),
}
"""By what is added to a method's name."""
QUICK_ROUNDS = 400
QUICK_SCENES = ("", "-half")
SHOWN_AS_PP1 = ("diana", "artemis")


def methods(dimension: int) -> tuple[Method, ...]:
    """What is compared: QSGD with one level and one norm, as in the papers, and EDEN at 1 bit."""
    error = qsgd_error(dimension, 1)
    qsgd = f"qsgd:levels=1,bucket={dimension}"
    one_way = Method(name="qsgd", up=qsgd, up_error=error)
    diana = dataclasses.replace(one_way, name="diana", uplink_memory=True)
    two_way = dataclasses.replace(
        one_way, name="biqsgd", down=qsgd, down_error=error, downlink="gradient"
    )
    artemis = dataclasses.replace(two_way, name="artemis", uplink_memory=True)
    return (
        Method(name="sgd"),
        one_way,
        diana,
        two_way,
        artemis,
        dataclasses.replace(artemis, name="mcm", downlink="model"),
        Method(
            name="eden-replica", up="eden:bits=1", up_error=math.pi / 2 - 1, uplink_memory=True,
            down="sign", downlink="replica",
        ),
    )  # fmt: skip


def jobs(dimension: int, *, quick: bool) -> dict[str, tuple[Method, Setting]]:
    """Every run by its name."""
    found: dict[str, tuple[Method, Setting]] = {}
    for suffix, setting in SCENES.items():
        if quick and suffix not in QUICK_SCENES:
            continue
        chosen = dataclasses.replace(setting, rounds=QUICK_ROUNDS) if quick else setting
        for method in methods(dimension):
            if suffix == "-half" and method.uplink_memory:
                for variant in ("PP1", "PP2") if method.name in SHOWN_AS_PP1 else ("PP2",):
                    name = f"{method.name}-half-{variant.lower()}"
                    found[name] = dataclasses.replace(method, variant=variant), chosen
            else:
                found[method.name + suffix] = method, chosen
    return found


def measure(problem: Problem, *, quick: bool, processes: int) -> dict[str, Outcome]:
    """All runs, `processes` at a time."""
    wanted = jobs(problem.dimension, quick=quick)
    optimum = problem.optimum()
    with ProcessPoolExecutor(processes) as pool:
        running = {
            name: pool.submit(run, problem, method, setting, optimum=optimum)
            for name, (method, setting) in wanted.items()
        }
        return {name: future.result() for name, future in running.items()}


def figures(problem: Problem, outcomes: Mapping[str, Outcome]) -> dict[str, object]:
    """What `--json` holds."""

    def reached(outcome: Outcome) -> float | None:
        bits = outcome.bits_to(TARGET)
        return bits if math.isfinite(bits) else None

    return {
        "data": problem.name,
        "devices": len(problem.devices),
        "dimension": problem.dimension,
        "excess_log10": {name: round(each.excess_log10, 3) for name, each in outcomes.items()},
        "bits": {name: each.bits for name, each in outcomes.items()},
        "bits_up": {name: each.bits_up for name, each in outcomes.items()},
        "bits_down": {name: each.bits_down for name, each in outcomes.items()},
        "payload_bits": {name: each.bits - each.header_bits for name, each in outcomes.items()},
        "target": TARGET,
        "bits_to_target": {name: reached(each) for name, each in outcomes.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.artemis", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds, two scenes")
    parser.add_argument("--data-dir", type=Path, help="folder of the .npz data sets")
    parser.add_argument("--data", choices=SETS, help="which; libsvm_phishing of a --data-dir")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    options = parser.parse_args(arguments)
    name = options.data or ("libsvm_phishing" if options.data_dir else "digits")
    problem = load_problem(name, options.data_dir)
    print(
        f"{name}: {len(problem.devices)} devices, dimension {problem.dimension}, "
        f"B^2 = {problem.heterogeneity():.3f}, gamma = {STEP:g}/L"
    )
    outcomes = measure(problem, quick=options.quick, processes=options.jobs)
    _print(outcomes)
    if options.json:
        options.json.write_text(json.dumps(figures(problem, outcomes), indent=1) + "\n")
    if options.plot:
        draw(outcomes, options.plot, title=f"{name}, {len(problem.devices)} devices")


def _print(outcomes: Mapping[str, Outcome]) -> None:
    print(f"{'method':24} {'log10 excess':>12} {'Mbit':>8} {'up':>8} {'down':>8} {'no heads':>8}"
          f" {'Mbit to ' + format(TARGET, 'g'):>15}")  # fmt: skip
    for name, each in outcomes.items():
        columns = (each.bits, each.bits_up, each.bits_down, each.bits - each.header_bits)
        needed = each.bits_to(TARGET)
        print(
            f"{name:24} {each.excess_log10:12.2f} "
            + " ".join(f"{bits / 1e6:8.2f}" for bits in columns)
            + f" {needed / 1e6 if math.isfinite(needed) else math.nan:15.2f}"
        )


if __name__ == "__main__":
    main()
