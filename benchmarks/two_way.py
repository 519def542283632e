"""Accuracy and bytes of a fleet that compresses both ways, against one that does not.

    python -m benchmarks.two_way [--quick] [--data-dir DIR] [--rounds N] [--seeds N]
                                 [--schemes NAME …] [--json FILE]

100 writers of MNIST, 10 of them in each round, with the real engine, codecs, server sum, server
step and downlink; only network and disk are left out (`tests/server_ref/test_two_way.py` has them).
Bytes are those of all frames, headers included: up the updates, down what each device fetches from
what it holds, which is the plan's own weights at first (it has them with the plan). `--quick` is
the bundled digits, 20 devices, 4 in each round. Accuracy is the mean of the last five evaluations.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.fleet import Fleet, digits, writers
from edge_sdk.codecs import codec_from_frame, codec_from_spec
from edge_sdk.codecs.layouts import fitted
from edge_sdk.codecs.stated import stated_error
from edge_sdk.plan import read_model
from edge_sdk.runtime.carrying import Carried, after_receipt, before_sending
from edge_sdk.runtime.frames import update_frames
from edge_sdk.values import Memory, Task, Vector
from edge_sdk.wire import Frame, unpack
from server_ref.aggregate import (
    Decoded,
    ServerOptimizer,
    Tally,
    decode_checked,
    norm_limit,
    optimize,
)
from server_ref.downlink import Contents, Downlink, bytes_of, choose, derive_seed
from server_ref.memory import Remembered, default_speed, exchange, mean_of_all

RUN = "0" * 16
EVALUATED = 5
"""Evaluations at the end that the accuracy is the mean of."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scheme:
    """How a fleet's traffic is coded."""

    name: str
    up: str
    down: str
    memory: Memory = "none"


SCHEMES = (
    Scheme("float32 both ways", "float32", "float32"),
    Scheme("two-way", "blockwise:rate=0.5", "deadzone:rate=0.15"),
    Scheme("two-way, least", "blockwise:rate=0.1", "deadzone:rate=0.05"),
    Scheme("two-way, feedback", "deadzone:rate=0.1", "deadzone:rate=0.15", "error-feedback"),
    Scheme("two-way, Artemis", "blockwise:rate=0.5", "deadzone:rate=0.15", "artemis"),
    Scheme("two-way, EDEN", "eden:bits=1", "eden:rate=0.15,scale=mse"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One run's figures."""

    accuracy: float
    bytes_up: int
    bytes_down: int
    behind: float
    """At the end, the replica's distance from the model over the model's own length."""
    curve: tuple[tuple[int, float], ...]
    """(round, accuracy of the exact model)."""


class Run:
    """A fleet and its server in one process."""

    def __init__(self, fleet: Fleet, scheme: Scheme, *, per_round: int, seed: int) -> None:
        self.fleet, self.scheme, self.seed = fleet, scheme, seed
        self.per_round = per_round
        self.segments = fleet.plan.segments()
        self.downlink = Downlink(run=RUN, segments=self.segments.all, codec=scheme.down)
        self.engine = fleet.engine()
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.weights = self.replica = fleet.plan.whole_weights()
        self.bytes_up = self.bytes_down = 0
        self.versions: dict[int, tuple[bytes, bytes | None]] = {}
        self.contents: dict[int, Contents] = {}
        self.held: dict[int, tuple[int, dict[int, Vector]]] = {}
        self.carried: dict[int, Carried | None] = {}
        self.memories: dict[int, tuple[float, Vector]] = {}
        self.total = np.zeros(self.segments.size)
        self.remembered: dict[str, Remembered] = {}
        artemis = scheme.memory == "artemis"
        self.speed = default_speed((scheme.up,)) if artemis else None

    def finish(self, rounds: int) -> Outcome:
        """All rounds."""
        curve: list[tuple[int, float]] = []
        every = max(rounds // 10, 1)
        for number in range(1, rounds + 1):
            self.round(number)
            if number % every == 0 or number > rounds - EVALUATED:
                found = self.engine.evaluate(self.weights, self.fleet.test)
                curve.append((number, found.accuracy or 0.0))
        length = float(np.linalg.norm(self.weights))
        return Outcome(
            accuracy=float(np.mean([accuracy for _, accuracy in curve[-EVALUATED:]])),
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            behind=float(np.linalg.norm(self.weights - self.replica)) / length,
            curve=tuple(curve),
        )

    def round(self, number: int) -> None:
        """One round of devices drawn from the seed, and the version it makes."""
        version = number - 1
        count = len(self.fleet.devices)
        chosen = self.random.choice(count, self.per_round, replace=False).tolist()
        tally = Tally(self.segments.size, self.segments.stage, weighing="examples", shrink=True)
        longest = norm_limit(self.weights)
        of_all = mean_of_all(self.total, self.remembered, self.segments.all, fleet=count)
        for device in chosen:
            weights = self.fetch(device, version)
            seed = derive_seed(self.seed, "update", number, device)
            update = self.fleet.update(self.engine, weights, device, seed=seed)
            frames = self.send(update, device, number, seed)
            pieces = decode_checked(frames, longest=longest)
            codec = codec_from_frame(frames[0].codec, frames[0].parameter)
            error = stated_error(codec, [frame.payload for frame in frames])
            examples = len(self.fleet.devices[device])
            tally.add(Decoded(stage=0, examples=examples, error=error, pieces=pieces))
            self.remember(device, float(examples))
        mean = tally.mean()
        step = np.where(mean.covered, mean.values + of_all, 0.0)
        self.weights, _ = optimize(ServerOptimizer(), self.weights, step, mean.covered, {})
        made = self.downlink.publish(
            self.weights,
            self.replica,
            version=number,
            seed_of=lambda segment: derive_seed(self.seed, "downlink", number, segment),
        )
        self.replica = made.replica
        self.versions[number] = (made.snapshot, made.delta)
        self.contents[number] = made.contents

    def fetch(self, device: int, version: int) -> Vector:
        """Bring a device up to date; what it trains from."""
        plan = self.fleet.plan.whole_weights()
        start = {s.number: s.where.take(plan) for s in self.segments.all}
        have, held = self.held.get(device, (0, start))
        if version > have:
            wanted = list(range(len(self.segments.all)))
            slices = choose(self.contents, version=version, wanted=wanted, have=have, held=wanted)
            self.bytes_down += bytes_of(slices)
            data = b"".join(
                (self.versions[s.version][s.kind == "delta"] or b"")[s.offset : s.offset + s.size]
                for s in slices
            )
            held = read_model(
                data,
                run=RUN,
                version=version,
                segments=self.segments.all,
                held=held,
                have=have,
            )
            self.held[device] = (version, held)
        vector = self.segments.gather(held, 0)
        if not np.array_equal(vector, self.replica):
            raise RuntimeError("a device holds something else than the server thinks")
        return vector

    def send(self, update: Vector, device: int, number: int, seed: int) -> list[Frame]:
        """The frames of an update as the server reads them; what is kept of it is kept."""
        kept = self.carried.get(device)
        task = Task(
            run=RUN,
            round=number,
            plan=self.fleet.plan.digest,
            model_version=number - 1,
            codecs=(self.scheme.up,),
            seed=seed,
            deadline_s=1.0,
            cohort=self.per_round,
            memory=self.scheme.memory,
            memory_speed=self.speed,
            memory_round=None if kept is None else kept.round,
        )
        where = self.segments.stage(0)
        sent = before_sending(update, task, kept, where=where, size=self.segments.size)
        if sent is None:
            raise RuntimeError("a memory got lost")
        codec = fitted(codec_from_spec(self.scheme.up), self.fleet.layout)
        examples = len(self.fleet.devices[device])
        frames = update_frames(sent.vector, task, codec, stage=0, examples=examples)
        self.bytes_up += sum(map(len, frames))
        if sent.owed is not None:
            counted = [(0, len(frames))]
            self.carried[device] = after_receipt(
                sent.owed, task, frames, where=where, counted=counted
            )
        return [unpack(frame) for frame in frames]

    def remember(self, device: int, weight: float) -> None:
        """Move the server's side of an Artemis memory."""
        carried = self.carried.get(device)
        if self.scheme.memory != "artemis" or carried is None:
            return
        before = self.memories.get(device)
        self.memories[device] = (weight, carried.vector)
        exchange(self.total, before, (weight, carried.vector))
        numbers = tuple(segment.number for segment in self.segments.all)
        self.remembered[str(device)] = Remembered(weight, numbers)


def fleet_of(options: argparse.Namespace) -> tuple[Fleet, int]:
    """The federation, and how many devices take part in a round."""
    if options.quick:
        return digits("cnn"), 4
    return dataclasses.replace(writers(options.data_dir, "cnn", devices=100), epochs=1), 10


def main() -> None:
    """Run, print, and write what was asked for."""
    options = _options()
    fleet, per_round = fleet_of(options)
    rounds = options.rounds or (15 if options.quick else 60)
    print(
        f"{fleet.name}: {len(fleet.devices)} devices, {per_round} a round, {rounds} rounds, ",
        end="",
    )
    print(f"{fleet.layout.size:,} parameters, {options.seeds} seed(s)")
    print(
        f"{'scheme':28} {'accuracy':>9} {'MB up':>8} {'x':>6} {'MB down':>8} {'x':>6} {'behind':>7}"
    )
    found: dict[str, list[Outcome]] = {}
    for scheme in SCHEMES:
        if scheme.name not in options.schemes:
            continue
        found[scheme.name] = [
            Run(fleet, scheme, per_round=per_round, seed=seed).finish(rounds)
            for seed in range(options.seeds)
        ]
        print(row(scheme.name, found), flush=True)
    if options.json:
        figures = {name: [dataclasses.asdict(o) for o in each] for name, each in found.items()}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def row(name: str, found: dict[str, list[Outcome]]) -> str:
    """One line of the table; factors are against the first scheme."""
    first = next(iter(found.values()))
    up, down = (_mean(found[name], field) for field in ("bytes_up", "bytes_down"))
    return (
        f"{name:28} {100 * _mean(found[name], 'accuracy'):9.2f} {up / 1e6:8.2f} "
        f"{_mean(first, 'bytes_up') / up:6.1f} {down / 1e6:8.2f} "
        f"{_mean(first, 'bytes_down') / down:6.1f} {_mean(found[name], 'behind'):7.4f}"
    )


def _mean(outcomes: Sequence[Outcome], field: str) -> float:
    return float(np.mean([getattr(outcome, field) for outcome in outcomes]))


def _options() -> argparse.Namespace:
    names = [scheme.name for scheme in SCHEMES]
    parser = argparse.ArgumentParser(description="Accuracy and bytes, compressed both ways or not.")
    parser.add_argument("--quick", action="store_true", help="the bundled digits")
    parser.add_argument("--data-dir", type=Path, default=Path(), help="has mnist_writers.npz")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--schemes", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
