"""The budget policy against fixed bit rates on a mixed fleet: joules and missed deadlines.

    python -m benchmarks.adapt --data-dir DIR [--quick] [--json FILE] [--plot FILE]
                               [--scenes sensors writers] [--policies budget 1 2 4 8]
                               [--seeds N] [--jobs N]

Everything runs in the fleet simulator: the real server, client, codecs and policies in virtual
time, real training, modelled links and power. A run stops when a version reaches the scene's target
accuracy; joules are those of all devices, awake for the federation, up to then. `--quick` is one
seed of one scene with three policies.

Then one link becomes ten times worse for a while: how many rounds until deadlines are met again,
and how many until the rate is back.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.adapt_fleets import BUDGET, FIXED, RATES, SCENES, degrading_fleet, mixed_fleet
from server_ref.simulate.federation import simulate
from server_ref.simulate.outcome import MISSED, Outcome
from server_ref.simulate.plans import plan_of
from server_ref.simulate.report import aligned, duration

DEGRADED_FROM_S = 300.0
DEGRADED_TO_S = 700.0
BACK = 0.8
"""The rate is back when it is this share of what it was."""


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """One run."""

    scene: str
    policy: str
    seed: int
    data_dir: Path
    rounds: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What one run came to."""

    scene: str
    policy: str
    seed: int
    reached: bool
    rounds: int
    seconds: float
    energy_j: float
    missed: int
    tasks: int
    """Begun, without those declined at once."""
    sat_out: int
    bytes_up: int
    bytes_down: int
    bits: float | None
    accuracy: float | None


def figures_of(job: Job, outcome: Outcome) -> Figures:
    """The figures of a run up to its last version."""
    return Figures(
        scene=job.scene,
        policy=job.policy,
        seed=job.seed,
        reached=outcome.reached,
        rounds=len(outcome.rounds),
        seconds=outcome.rounds[-1].at_s if outcome.rounds else outcome.seconds,
        energy_j=outcome.energy_j,
        missed=outcome.missed,
        tasks=outcome.count("counted", *MISSED),
        sat_out=outcome.count("sat-out"),
        bytes_up=outcome.bytes_up,
        bytes_down=outcome.bytes_down,
        bits=outcome.mean_bits(),
        accuracy=outcome.accuracy,
    )


def work(job: Job) -> Outcome:
    """Do a run."""
    fleet = mixed_fleet(
        SCENES[job.scene], job.policy, data_dir=job.data_dir, seed=job.seed, rounds=job.rounds
    )
    return simulate(fleet, plan_of(fleet), name=_label(job.policy))


def _label(policy: str) -> str:
    return policy if policy == BUDGET else f"{policy} bits"


# ---------------------------------------------------------------------- a link that degrades


@dataclasses.dataclass(frozen=True, slots=True)
class Recovery:
    """What became of deadlines and rates around the change, in rounds of one device each."""

    policy: str
    bits_before: float | None
    bits_during: float | None
    missed_during: int
    rounds_during: int
    until_met: int | None
    """Rounds begun on the bad link up to and with the last one missed, of the worst device."""
    until_back: int | None
    """Rounds begun on the good link again until the rate is back, of the slowest device."""
    points: tuple[tuple[float, float | None, bool], ...]
    """When a round began, its bits, and whether it was missed; of all devices."""


def recovery_of(policy: str, outcome: Outcome) -> Recovery:
    """Read the run."""
    devices = sorted({one.device for one in outcome.participations})
    met: list[int] = []
    back: list[int | None] = []
    before: list[float] = []
    during: list[float] = []
    for device in devices:
        own = [o for o in outcome.participations if o.device == device and o.ending != "open"]
        good = [o for o in own if o.began_s < DEGRADED_FROM_S]
        bad = [o for o in own if DEGRADED_FROM_S <= o.began_s < DEGRADED_TO_S]
        again = [o for o in own if o.began_s >= DEGRADED_TO_S]
        rates = [o.bits for o in good[len(good) // 2 :] if o.bits is not None]
        usual = sum(rates) / len(rates) if rates else 0.0
        before.append(usual)
        during += [o.bits for o in bad[len(bad) // 2 :] if o.bits is not None]
        met.append(max((i + 1 for i, o in enumerate(bad) if o.ending in MISSED), default=0))
        back.append(
            next((i + 1 for i, o in enumerate(again) if (o.bits or 0.0) >= BACK * usual), None)
        )
    hard = [o for o in outcome.participations if DEGRADED_FROM_S <= o.began_s < DEGRADED_TO_S]
    return Recovery(
        policy=policy,
        bits_before=sum(before) / len(before) if before else None,
        bits_during=sum(during) / len(during) if during else None,
        missed_during=sum(o.ending in MISSED for o in hard),
        rounds_during=len(hard),
        until_met=max(met, default=0),
        until_back=None if None in back else max((b for b in back if b is not None), default=None),
        points=tuple(
            (o.began_s, o.bits, o.ending in MISSED)
            for o in outcome.participations
            if o.ending != "open"
        ),
    )


def degrade(policy: str, *, data_dir: Path, seed: int) -> Recovery:
    """Run the fleet whose links become ten times worse."""
    fleet = degrading_fleet(
        policy, data_dir=data_dir, seed=seed, from_s=DEGRADED_FROM_S, to_s=DEGRADED_TO_S
    )
    return recovery_of(policy, simulate(fleet, plan_of(fleet), name=_label(policy)))


# ---------------------------------------------------------------------- the command


def main() -> None:
    """Run, print the tables, write and draw."""
    options = _options()
    figures: list[Figures] = []
    curves: dict[str, list[Outcome]] = {}
    for job, outcome in _outcomes(list(jobs(options)), options.jobs):
        figures.append(figures_of(job, outcome))
        if job.seed == 0:
            curves.setdefault(job.scene, []).append(outcome)
        one = figures[-1]
        print(
            f"{one.scene} {_label(one.policy)} seed {one.seed}: {one.energy_j / 1e3:.2f} kJ, "
            f"{one.missed} of {one.tasks} missed, {one.rounds} rounds, accuracy {one.accuracy}",
            flush=True,
        )
    for scene in options.scenes:
        print_table(scene, [one for one in figures if one.scene == scene])
    recoveries = [
        degrade(policy, data_dir=options.data_dir, seed=0) for policy in options.degrading
    ]
    print_recoveries(recoveries)
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "runs": [dataclasses.asdict(one) for one in figures],
                    "degrading": [dataclasses.asdict(one) for one in recoveries],
                },
                indent=1,
            )
            + "\n"
        )
    if options.plot:
        from benchmarks.adapt_plot import draw  # noqa: PLC0415 - matplotlib only when drawn

        draw(curves, recoveries, options.plot)


def jobs(options: argparse.Namespace) -> Iterator[Job]:
    """All runs asked for."""
    for scene in options.scenes:
        for seed in range(options.seeds):
            for policy in options.policies:
                yield Job(scene, policy, seed, options.data_dir, options.rounds)


def _outcomes(todo: Sequence[Job], count: int) -> Iterator[tuple[Job, Outcome]]:
    if count == 1:
        for job in todo:
            yield job, work(job)
        return
    with ProcessPoolExecutor(count) as pool:
        yield from zip(todo, pool.map(work, todo), strict=True)


def print_table(scene: str, figures: Sequence[Figures]) -> None:
    """One line for each policy, means over the seeds."""
    heads = (
        "policy", "reached", "rounds", "time", "kJ", "missed", "of tasks", "sat out", "bits",
        "MB up", "MB down", "accuracy",
    )  # fmt: skip
    rows = [list(heads)]
    for policy in dict.fromkeys(one.policy for one in figures):
        own = [one for one in figures if one.policy == policy]
        bits = [one.bits for one in own if one.bits is not None]
        rows.append(
            [
                _label(policy),
                f"{sum(one.reached for one in own)}/{len(own)}",
                f"{_mean([one.rounds for one in own]):.1f}",
                duration(_mean([one.seconds for one in own])),
                f"{_mean([one.energy_j for one in own]) / 1e3:.2f}",
                f"{_mean([one.missed for one in own]):.1f}",
                f"{_mean([one.tasks for one in own]):.1f}",
                f"{_mean([one.sat_out for one in own]):.1f}",
                f"{_mean(bits):.2f}" if bits else "",
                f"{_mean([one.bytes_up for one in own]) / 1e6:.2f}",
                f"{_mean([one.bytes_down for one in own]) / 1e6:.2f}",
                f"{_mean([one.accuracy or 0.0 for one in own]):.4f}",
            ]
        )
    target = SCENES[scene].target
    print(f"\n{scene}: until accuracy {target:g}, mean of the seeds")
    for line in aligned(rows):
        print(line)
    sys.stdout.flush()


def print_recoveries(recoveries: Sequence[Recovery]) -> None:
    """One line for each policy."""
    heads = ("policy", "bits before", "bits during", "missed", "of", "until met", "until back")
    rows = [list(heads)]
    rows += [
        [
            _label(one.policy),
            _figure(one.bits_before),
            _figure(one.bits_during),
            str(one.missed_during),
            str(one.rounds_during),
            _figure(one.until_met),
            _figure(one.until_back),
        ]
        for one in recoveries
    ]
    print(f"\nlinks 10 times worse from {DEGRADED_FROM_S:g} to {DEGRADED_TO_S:g} s")
    for line in aligned(rows):
        print(line)


def _figure(value: float | None) -> str:
    return "never" if value is None else f"{value:.3g}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Policies on a mixed fleet.")
    parser.add_argument("--quick", action="store_true", help="one scene and seed, few policies")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--plot", type=Path, help="draw here")
    parser.add_argument("--scenes", nargs="*", choices=sorted(SCENES))
    parser.add_argument("--policies", nargs="+", choices=[BUDGET, *FIXED])
    parser.add_argument("--degrading", nargs="*", choices=[BUDGET, *RATES])
    parser.add_argument("--rounds", type=int, help="at most so many, instead of the scene's")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    options = parser.parse_args()
    quick = options.quick
    if options.scenes is None:
        options.scenes = ["sensors"] if quick else sorted(SCENES)
    options.policies = options.policies or ([BUDGET, "2", "8"] if quick else [BUDGET, *FIXED])
    if options.degrading is None:
        options.degrading = [BUDGET] if quick else [BUDGET, "0.25", "1"]
    return options


Curves = Mapping[str, Sequence[Outcome]]


if __name__ == "__main__":
    main()
