"""Split learning with quantized activations (FedLite): accuracy against bytes; device costs.

    python -m benchmarks.fedlite [--quick] --data-dir DIR [--json FILE] [--plot FILE]
                                 [--fleets NAME ...]

Both halves run in one process with the real graphs, codecs and messages; bytes are those of whole
messages and frames. `--json` is also read: runs that stand in it are not repeated. `--quick` is a
few runs of the smaller fleet. Accuracy is the mean of the last three evaluations, by the whole
model without quantization.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks import fedlite_fleet
from benchmarks.fedlite_costs import print_costs
from benchmarks.fedlite_fleet import SplitFleet
from benchmarks.fedlite_run import Outcome, Run, Scheme, Traffic

FLEETS: Mapping[str, Callable[[Path], SplitFleet]] = MappingProxyType(
    {
        "phones": fedlite_fleet.phones,
        "writers": fedlite_fleet.writers,
        "writers-paper": fedlite_fleet.writers_paper,
    }
)
ROUNDS = MappingProxyType({"writers": 20, "phones": 20, "writers-paper": 12})
QUICK_ROUNDS = 6

SCHEMES: Mapping[str, tuple[Scheme, ...]] = MappingProxyType(
    {
        "writers": (
            Scheme(None),
            Scheme("product:q=576,l=2"),
            Scheme("product:q=576,l=2", 1e-4),
            Scheme("product:q=576,l=8"),
            Scheme("product:q=576,l=8", 1e-4),
            Scheme("product:q=144,l=2"),
            Scheme("product:q=144,l=2", 1e-4),
            Scheme("product:q=576,l=32"),
            Scheme("product:q=2304,l=16"),
            Scheme("float32"),
            Scheme("product:q=576,l=8", 1e-4, gradients="eden:bits=2", update="eden:bits=4"),
        ),
        "writers-paper": (
            Scheme(None),
            Scheme("product:q=1152,l=2"),
            Scheme("product:q=1152,l=2", 1e-4),
            Scheme("product:q=1152,l=8", 1e-4),
        ),
        "phones": (
            Scheme(None),
            Scheme("float32"),
            Scheme("product:q=256,l=32"),
            Scheme("product:q=256,l=8"),
            Scheme("product:q=256,l=8", 1e-4),
            Scheme("product:q=256,l=2"),
            Scheme("product:q=256,l=2", 1e-4),
            Scheme("product:q=256,l=2", 1e-3),
            Scheme("product:q=256,l=8", 1e-4, gradients="eden:bits=2", update="eden:bits=4"),
        ),
    }
)

QUICK = (
    Scheme(None),
    Scheme("float32"),
    Scheme("product:q=256,l=8"),
    Scheme("product:q=256,l=2", 1e-4),
)


def main() -> None:
    """Run what is missing, then print tables and draw."""
    options = _options()
    done = read(options.json) if options.json and options.json.exists() else {}
    rounds = {name: QUICK_ROUNDS if options.quick else ROUNDS[name] for name in options.fleets}
    for name in options.fleets:
        fleet: SplitFleet | None = None
        for scheme in QUICK if options.quick else SCHEMES[name]:
            key = f"{name} | {scheme.name}"
            if key not in done:
                fleet = fleet or FLEETS[name](options.data_dir)
                done[key] = Run(fleet, scheme).finish(rounds[name])
                print(f"{key}: {done[key].accuracy:.4f}", flush=True)
                if options.json:
                    write(options.json, done)
        print_table(name, rounds[name], done)
    print_costs(options.fleets)
    if options.plot:
        from benchmarks.fedlite_plot import draw  # noqa: PLC0415 - matplotlib only when drawn

        draw(done, options.plot)


def print_table(fleet: str, rounds: int, done: Mapping[str, Outcome]) -> None:
    """One line for each scheme."""
    print(f"\n{fleet}, {rounds} rounds; activations alone in times, bytes in MB")
    print(f"{'scheme':62} {'real':>6} {'paper':>6} {'up':>8} {'both':>8} {'accuracy':>8}")
    for key, outcome in done.items():
        if not key.startswith(f"{fleet} | "):
            continue
        traffic = outcome.traffic
        alone = traffic.raw_activations == 0
        real = "-" if alone else f"{outcome.compression:.0f}"
        paper = "-" if alone else f"{outcome.by_the_paper:.0f}"
        sizes = f"{traffic.up / 1e6:8.3f} {traffic.both / 1e6:8.3f}"
        print(f"{outcome.name:62} {real:>6} {paper:>6} {sizes} {outcome.accuracy:8.4f}")


def write(path: Path, done: Mapping[str, Outcome]) -> None:
    """All outcomes by run."""
    text = json.dumps({key: dataclasses.asdict(each) for key, each in done.items()}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Outcome]:
    """What `write` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {
        key: Outcome(
            **{
                **each,
                "traffic": Traffic(**each["traffic"]),
                "curve": tuple((number, accuracy) for number, accuracy in each["curve"]),
            }
        )
        for key, each in found.items()
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Split learning: accuracy against bytes.")
    parser.add_argument("--quick", action="store_true", help="few short runs")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the .npz data sets")
    parser.add_argument("--json", type=Path, help="read and write runs here")
    parser.add_argument("--plot", type=Path, help="draw here")
    parser.add_argument("--fleets", nargs="+", choices=sorted(FLEETS))
    options = parser.parse_args()
    options.fleets = options.fleets or (["phones"] if options.quick else ["writers", "phones"])
    return options


if __name__ == "__main__":
    main()
