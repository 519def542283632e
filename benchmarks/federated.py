"""Accuracy against all bytes sent up, for codecs, rates and memories, full and partial cohorts.

    python -m benchmarks.federated [--quick] [--data-dir DIR] [--json FILE] [--plot FILE]
                                   [--fleets NAME ...] [--cohorts 20% all] [--schemes NAME ...]
                                   [--seeds N] [--jobs N]

Simulated in one process for each run with the real engine, codecs and server sum (`cohort`); bytes
are those of all frames, headers included. Without `--data-dir` only the bundled digits. `--json`
is also read: runs that stand in it are not repeated, so a long table can be made in parts.
`--quick` is the digits with few schemes. Accuracy is the mean of the last three evaluations.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.cohort import Outcome, Scheme, least_bytes, run
from benchmarks.contenders import CHUNK_BYTES
from benchmarks.fleet import FLEETS, Fleet
from edge_sdk.codecs import Eden, Float32
from edge_sdk.codecs.auto import choose
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.lowrank import LowRank, matrices_of
from edge_sdk.codecs.sign import Sign
from edge_sdk.codecs.topk import TopK
from edge_sdk.interfaces import Codec
from edge_sdk.values import Vector

LOST = 0.005
"""How far below float32 an accuracy may lie to count as its equal."""

COHORTS: Mapping[tuple[str, str], tuple[int, int]] = MappingProxyType(
    {
        ("digits-cnn", "20%"): (5, 40),
        ("digits-cnn", "all"): (20, 15),
        ("writers-cnn", "20%"): (6, 20),
        ("writers-cnn", "all"): (30, 5),
        ("sensors-cnn", "20%"): (4, 30),
        ("sensors-cnn", "all"): (21, 10),
    }
)
"""Devices in a round and rounds. (5 of 20 of the digits: the first setting measured.)"""


def _blockwise(rate: float, suffix: str = "", *, shrink: bool = False) -> Scheme:
    name = f"blockwise {rate:g}{suffix}"
    return Scheme(name, lambda _fleet, _update: Blockwise(rate), shrink=shrink)


def _deadzone(rate: float, *, feedback: bool) -> Scheme:
    name = f"deadzone {rate:g}" + (" +EF" if feedback else "")
    return Scheme(name, lambda _fleet, _update: DeadZone(rate), feedback=feedback)


def _fedzip(keep: float, *, feedback: bool) -> Scheme:
    name = f"fedzip z={keep:g}" + (" +EF" if feedback else "")
    return Scheme(name, lambda fleet, _: FedZip(keep, layout=fleet.layout), feedback=feedback)


def _lowrank(rate: float) -> Scheme:
    return Scheme(f"lowrank {rate:g}", lambda fleet, _: LowRank(rate, matrices_of(fleet.layout)))


def _auto(rate: float) -> Scheme:
    """The automatic choice, and the server shrinks by what the updates state."""

    def chosen(fleet: Fleet, update: Vector) -> Codec:
        return choose(update, rate=rate, chunk_bytes=CHUNK_BYTES, layout=fleet.layout).codec

    return Scheme(f"auto {rate:g}", chosen, shrink=True)


def _eden_entropy(rate: float) -> Scheme:
    return Scheme(f"eden-entropy {rate:g}", lambda _fleet, _update: EdenEntropy(rate))


def _topk(share: float) -> Scheme:
    return Scheme(f"topk {share:g} +EF", lambda _fleet, _update: TopK(share), feedback=True)


SCHEMES: tuple[Scheme, ...] = (
    Scheme("float32", lambda _fleet, _update: Float32()),
    *(_blockwise(rate) for rate in (0.01, 0.033, 0.104, 0.5)),
    *(_blockwise(rate, " shrunk", shrink=True) for rate in (0.01, 0.033)),
    Scheme("blockwise 0.5 Artemis", lambda _fleet, _update: Blockwise(0.5), artemis=True),
    *(_auto(rate) for rate in (0.033, 0.104, 0.5)),
    *(_lowrank(rate) for rate in (0.104, 0.5)),
    *(_eden_entropy(rate) for rate in (0.05, 0.104, 0.5)),
    Scheme("eden 1", lambda _fleet, _update: Eden(1)),
    Scheme("eden 2", lambda _fleet, _update: Eden(2)),
    *(_deadzone(rate, feedback=True) for rate in (0.01, 0.033, 0.104)),
    _deadzone(0.033, feedback=False),
    *(_topk(share) for share in (0.0015, 0.005)),
    *(_fedzip(0.01, feedback=feedback) for feedback in (False, True)),
    Scheme("sign +EF", lambda _fleet, _update: Sign(), feedback=True),
)

QUICK = ("float32", "blockwise 0.033", "deadzone 0.033 +EF", "eden 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    fleet: str
    cohort: str
    scheme: str
    seed: int
    data_dir: Path

    @property
    def key(self) -> str:
        """How the run is named in the file."""
        return f"{self.fleet} | {self.cohort} | {self.scheme} | {self.seed}"


def work(job: Job) -> Outcome:
    """Do a run."""
    per_round, rounds = COHORTS[job.fleet, job.cohort]
    scheme = next(scheme for scheme in SCHEMES if scheme.name == job.scheme)
    fleet = _fleet(job.fleet, job.data_dir)
    return run(fleet, scheme, per_round=per_round, rounds=rounds, seed=job.seed)


@cache
def _fleet(name: str, data_dir: Path) -> Fleet:
    return FLEETS[name](data_dir)


def main() -> None:
    """Run what is missing, then print the table and draw."""
    options = _options()
    done = read_outcomes(options.json) if options.json and options.json.exists() else {}
    missing = [job for job in jobs(options) if job.key not in done]
    for job, outcome in _outcomes(missing, options.jobs):
        done[job.key] = outcome
        bad = " diverged" if outcome.diverged else ""
        print(f"{job.key}: {outcome.accuracy:.4f} at {outcome.bits:.4g} bits{bad}", flush=True)
        if options.json:
            write_outcomes(options.json, done)
    tables = by_setting(done)
    for (fleet, cohort), outcomes in tables.items():
        print_table(fleet, cohort, outcomes)
    if options.plot:
        from benchmarks.federated_plot import draw  # noqa: PLC0415 - matplotlib only when drawn

        draw(tables, options.plot)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """All runs asked for."""
    for fleet, cohort in COHORTS:
        if fleet not in options.fleets or cohort not in options.cohorts:
            continue
        for scheme in options.schemes:
            for seed in range(options.seeds):
                yield Job(fleet, cohort, scheme, seed, options.data_dir or Path())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Accuracy against bytes.")
    parser.add_argument("--quick", action="store_true", help="digits, few schemes")
    parser.add_argument("--data-dir", type=Path, help="folder of the .npz data sets")
    parser.add_argument("--json", type=Path, help="read and write runs here")
    parser.add_argument("--plot", type=Path, help="draw here")
    names = [scheme.name for scheme in SCHEMES]
    parser.add_argument("--schemes", nargs="+", choices=names, metavar="NAME")
    parser.add_argument("--fleets", nargs="+", choices=sorted({fleet for fleet, _ in COHORTS}))
    parser.add_argument("--cohorts", nargs="+", choices=["20%", "all"])
    parser.add_argument("--seeds", type=int, default=1, help="seeds for each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    options.schemes = options.schemes or (QUICK if options.quick else names)
    options.cohorts = options.cohorts or (["20%"] if options.quick else ["20%", "all"])
    every = ["digits-cnn", "writers-cnn", "sensors-cnn"]
    options.fleets = options.fleets or every[: 3 if options.data_dir and not options.quick else 1]
    return options


def _outcomes(missing: Sequence[Job], count: int) -> Iterator[tuple[Job, Outcome]]:
    if count == 1:
        for job in missing:
            yield job, work(job)
        return
    with ProcessPoolExecutor(count) as pool:
        yield from zip(missing, pool.map(work, missing), strict=True)


Settings = dict[tuple[str, str], dict[str, list[Outcome]]]


def by_setting(done: Mapping[str, Outcome]) -> Settings:
    """Outcomes of all seeds by scheme, by fleet and cohort."""
    tables: Settings = {}
    for key, outcome in done.items():
        fleet, cohort, scheme, _ = key.split(" | ")
        tables.setdefault((fleet, cohort), {}).setdefault(scheme, []).append(outcome)
    return tables


def print_table(fleet: str, cohort: str, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
    """One line for each scheme, and the cheapest that equals float32."""
    per_round, rounds = COHORTS[fleet, cohort]
    print(f"\n{fleet}, {per_round} devices a round, {rounds} rounds")
    print(f"{'scheme':24} {'bits':>8} {'MB up':>9} {'factor':>8} {'accuracy':>9}  each seed")
    exact = outcomes.get("float32")
    for name, each in outcomes.items():
        sent = float(np.mean([outcome.bytes_up for outcome in each]))
        whole = float(np.mean([outcome.bytes_up for outcome in exact])) if exact else sent
        seeds = " ".join("div." if o.diverged else f"{o.accuracy:.3f}" for o in each)
        accuracy = float(np.mean([outcome.accuracy for outcome in each]))
        bits = float(np.mean([outcome.bits for outcome in each]))
        size = f"{sent / 1e6:9.4g} {whole / sent:8.0f}"
        if any(outcome.diverged for outcome in each):  # cut short, so its bytes mean nothing
            size = f"{'-':>9} {'-':>8}"
        print(f"{name:24} {bits:8.4g} {size} {accuracy:9.4f}  {seeds}")
    if exact:
        wanted = float(np.mean([outcome.accuracy for outcome in exact])) - LOST
        best = least_bytes(outcomes, wanted)
        if best:
            print(f"fewest bytes within {100 * LOST} points of float32: {best[0]}, {best[1]:.0f}")
    sys.stdout.flush()


def write_outcomes(path: Path, done: Mapping[str, Outcome]) -> None:
    """All outcomes by run."""
    text = json.dumps({key: dataclasses.asdict(each) for key, each in done.items()}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def read_outcomes(path: Path) -> dict[str, Outcome]:
    """What `write_outcomes` wrote."""
    return {
        key: Outcome(**{**each, "curve": tuple((b, a) for b, a in each["curve"])})
        for key, each in json.loads(path.read_text(encoding="utf-8")).items()
    }


if __name__ == "__main__":
    main()
