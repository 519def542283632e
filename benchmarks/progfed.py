"""Progressive training against end-to-end training: quality, bytes both ways, computation.

    python -m benchmarks.progfed [--quick] [--data-dir DIR] [--case NAME …] [--json FILE]

Every device of a small federation takes part in every round, so what differs between the methods is
only what they train and send. Engine, stage graphs, codecs, frames and the server's mean are the
real ones; the network is left out. Warm-up rounds come on top of the wanted rounds, as in the
paper, and their bytes and computation are counted.

`--quick` takes the bundled digits and ends within a minute on 2 cores; its model is too small for
its figures to say much.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.contenders import encode_once
from edge_sdk.authoring import architectures, build_plan, zoo
from edge_sdk.codecs import codec_from_spec
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.interfaces import Codec
from edge_sdk.plan import Plan
from edge_sdk.plan.segments import Spans
from edge_sdk.values import Piece, Place, TrainSettings, Vector
from edge_sdk.wire import HEADER_BYTES
from server_ref.aggregate import WeightedSum, move
from server_ref.growth import Growth, Past, Schedule, Turn, learning_rate, next_turn

DIGITS = Path(__file__).parents[1] / "rpi_demo" / "digits.npz"
Array = NDArray[np.generic]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One model on one data set."""

    model: Callable[[], onnx.ModelProto]
    file: str | None
    """Of the data folder; None is the bundled digits."""
    stages: int
    devices: int
    rounds: int
    learning_rate: float
    epochs: int = 1
    batch: int = 32
    loss: str = "cross-entropy"
    judge: str = "cross-entropy"
    """The loss whose evaluation graph counts what is right."""
    optimizer: str = "sgd"
    momentum: float | None = 0.9
    warm_up_rounds: int = 1


CASES: Mapping[str, Case] = {
    "cifar-resnet8": Case(
        model=lambda: architectures.resnet8((3, 32, 32), 10, mean=120.5, scale=1 / 64.0),
        file="cifar10_lossless_4k",
        stages=3,
        devices=10,
        rounds=60,
        learning_rate=0.05,
    ),
    "nuclei-unet": Case(
        model=lambda: architectures.unet(
            (3, 128, 128), 1, mean=43.6, scale=1 / 68.3, norm="group", width=8
        ),
        file="dsb2018_nuclei128",
        stages=3,
        devices=6,
        rounds=40,
        learning_rate=0.003,
        batch=4,
        loss="binary-cross-entropy",
        judge="dice",
        optimizer="adam",
        momentum=None,
    ),
}
QUICK: Mapping[str, Case] = {
    "digits-cnn": Case(
        model=lambda: onnx.load_model_from_string(zoo.cnn((1, 8, 8), 10, width=128, scale=1 / 16)),
        file=None,
        stages=2,
        devices=5,
        rounds=16,
        learning_rate=0.03,
        batch=16,
    )
}


@dataclasses.dataclass(frozen=True, slots=True)
class Method:
    """How a run trains and sends."""

    schedule: Schedule | None
    """None trains the whole model from the first round."""
    up: str = "float32"
    down: str = "float32"
    """Codecs; a device holds what it was sent, and is sent differences to it."""


METHODS: Mapping[str, Method] = {
    "end-to-end": Method(None),
    "progfed halved": Method("halved"),
    "progfed equal": Method("equal"),
    "end-to-end, compressed": Method(None, "blockwise:rate=0.5", "eden:bits=4"),
    "progfed halved, compressed": Method("halved", "blockwise:rate=0.5", "eden:bits=4"),
    "progfed halved, more": Method("halved", "blockwise:rate=0.1", "eden:bits=1,scale=mse"),
}


@dataclasses.dataclass(slots=True)
class Figures:
    """What one run came to."""

    quality: float = 0.0
    """Accuracy or Dice of the whole model on the test set, mean of the last three rounds."""
    bytes_up: int = 0
    bytes_down: int = 0
    train_cpu_s: float = 0.0
    """Processor time inside training, all devices."""
    curve: list[tuple[int, int, float, float]] = dataclasses.field(default_factory=list)
    """(stage, bytes both ways so far, processor seconds so far, quality) after every round."""


class Federation:
    """One case's plan and data."""

    def __init__(self, case: Case, data_dir: Path | None) -> None:
        self.case = case
        model = case.model()
        self.plan = _plan(model, case, case.loss)
        self.judge = _plan(model, case, case.judge)
        arrays = _arrays(DIGITS if case.file is None else _file(data_dir, case.file))
        x, y = arrays["x_train"], _targets(arrays["y_train"])
        order = np.random.default_rng(0).permutation(len(x))
        shards = np.array_split(order, case.devices)
        self.devices = [ArrayDataset(x[s], y[s]).fit(self.plan) for s in shards]
        self.test = ArrayDataset(arrays["x_test"], _targets(arrays["y_test"])).fit(self.plan)
        self.whole = self.plan.whole_weights()
        self.segments = self.plan.segments()

    def growth(self, method: Method) -> Growth:
        """The method's stages."""
        return Growth(
            stages=1 if method.schedule is None else self.plan.stages,
            rounds=self.case.rounds,
            schedule=method.schedule or "equal",
            warm_up_rounds=self.case.warm_up_rounds,
        )


def _plan(model: onnx.ModelProto, case: Case, loss: str) -> Plan:
    return build_plan(
        model,
        loss=loss,
        optimizer=case.optimizer,
        momentum=case.momentum,
        stages=case.stages,
        name="progfed",
    )


class Run:
    """The state of one run: the server's model, and what every device holds of it."""

    def __init__(self, federation: Federation, method: Method, *, seed: int) -> None:
        self._federation, self._method, self._seed = federation, method, seed
        self._weights = federation.whole.copy()
        self._replica = federation.whole.copy()
        self._engines: dict[tuple[int, bool], OnnxRuntimeEngine] = {}
        self._up, self._down = codec_from_spec(method.up), codec_from_spec(method.down)
        self.figures = Figures()

    def finish(self) -> Figures:
        """All rounds."""
        growth = self._federation.growth(self._method)
        past: list[Past] = []
        while (turn := next_turn(growth, past)) is not None:
            stage = self._stage(turn)
            self._round(turn, stage, number=len(past) + 1, growth=growth)
            quality = self._quality(stage)
            spent = self.figures.bytes_up + self.figures.bytes_down
            self.figures.curve.append((stage, spent, self.figures.train_cpu_s, quality))
            past.append(Past(turn.stage, turn.warm_up, accuracy=quality))
        self.figures.quality = float(np.mean([row[3] for row in self.figures.curve[-3:]]))
        return self.figures

    def _stage(self, turn: Turn) -> int:
        whole = self._federation.plan.stages - 1
        return whole if self._method.schedule is None else turn.stage

    def _round(self, turn: Turn, stage: int, *, number: int, growth: Growth) -> None:
        case, federation = self._federation.case, self._federation
        where = federation.segments.stage(stage)
        self._broadcast(where, number)
        start = where.take(self._replica)
        total = WeightedSum(where.size)
        for device, data in enumerate(federation.devices):
            seed = 1_000_000 * (self._seed + 1) + 1000 * number + device
            settings = TrainSettings(
                epochs=case.epochs,
                batch_size=case.batch,
                learning_rate=learning_rate(growth, turn, case.learning_rate),
                seed=seed,
            )
            began_s = time.process_time()
            trained = self._engine(stage, warm_up=turn.warm_up).train(start, data, settings)
            self.figures.train_cpu_s += time.process_time() - began_s
            pieces, size = _sent(self._up, trained.weights - start, seed)
            self.figures.bytes_up += size
            total.add(pieces, float(len(data)))
        where.put(move(where.take(self._weights), total.mean()), self._weights)

    def _broadcast(self, where: Spans, number: int) -> None:
        """Send every device what leads from the model it holds towards the server's.

        The first model is in the plan; what a codec left out goes with the next difference.
        """
        missing = where.take(self._weights) - where.take(self._replica)
        if not missing.any():
            return
        pieces, size = _sent(self._down, missing, 7_000_000 + number)
        moved = np.zeros_like(missing)
        for piece in pieces:
            piece.where.add(piece.values, moved)
        where.add(moved, self._replica)
        self.figures.bytes_down += size * len(self._federation.devices)

    def _engine(self, stage: int, *, warm_up: bool) -> OnnxRuntimeEngine:
        key = (stage, warm_up)
        if key not in self._engines:
            self._engines[key] = OnnxRuntimeEngine(
                self._federation.plan, stage=stage, warm_up=warm_up
            )
        return self._engines[key]

    def _quality(self, stage: int) -> float:
        judge = OnnxRuntimeEngine(self._federation.judge, stage=stage)
        weights = self._federation.segments.stage(stage).take(self._weights)
        return judge.evaluate(weights, self._federation.test, batch_size=32).accuracy or 0.0


def _sent(codec: Codec, vector: Vector, seed: int) -> tuple[list[Piece], int]:
    """What arrives of a vector, and the bytes of its frames."""
    payloads = encode_once(codec, vector, seed=seed)
    pieces = [
        codec.decode(payload, Place(len(vector), index, len(payloads), seed))
        for index, payload in enumerate(payloads)
    ]
    return pieces, sum(HEADER_BYTES + len(payload) for payload in payloads)


def _file(data_dir: Path | None, name: str) -> Path:
    if data_dir is None:
        raise SystemExit(f"{name} needs --data-dir")
    return data_dir / f"{name}.npz"


def _arrays(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files if key != "meta"}


def _targets(labels: Array) -> Array:
    return labels.astype(np.int64) if labels.ndim == 1 else labels


# ------------------------------------------------------------------ one step of each stage


def step_times_ms(federation: Federation, *, steps: int) -> dict[str, float]:
    """Processor time of one training step of each stage and warm-up, the stages in turns."""
    engines = {
        f"{stage}{' warm-up' if warm else ''}": OnnxRuntimeEngine(
            federation.plan, stage=stage, warm_up=warm
        )
        for stage in range(federation.plan.stages)
        for warm in (False, True)
        if not warm or federation.plan.has_warm_up(stage)
    }
    batch = next(federation.devices[0].batches(size=federation.case.batch, seed=0))
    spent: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(4):
        for name, engine in engines.items():
            weights = federation.plan.initial_weights(int(name.split()[0]))
            began_s = time.process_time()
            engine.train(weights, [batch] * steps, TrainSettings(learning_rate=1e-4))
            if turn:  # the first opens the session
                spent[name].append(1e3 * (time.process_time() - began_s) / steps)
    return {name: float(np.median(times)) for name, times in spent.items()}


# ------------------------------------------------------------------ the command


def measured(
    case: Case, data_dir: Path | None, *, methods: Mapping[str, Method], seeds: Sequence[int]
) -> dict[str, object]:
    """Figures of every method, and of one step of every stage."""
    federation = Federation(case, data_dir)
    runs = {
        name: [Run(federation, method, seed=seed).finish() for seed in seeds]
        for name, method in methods.items()
    }
    sizes = [federation.plan.layout(stage).size for stage in range(federation.plan.stages)]
    return {
        "stage_parameters": sizes,
        "step_cpu_ms": step_times_ms(federation, steps=6),
        "methods": {name: _mean(found) for name, found in runs.items()},
    }


def _mean(found: Sequence[Figures]) -> dict[str, object]:
    return {
        "quality": float(np.mean([one.quality for one in found])),
        "quality_by_seed": [one.quality for one in found],
        "bytes_up": float(np.mean([one.bytes_up for one in found])),
        "bytes_down": float(np.mean([one.bytes_down for one in found])),
        "train_cpu_s": float(np.mean([one.train_cpu_s for one in found])),
        "curve": found[0].curve,
    }


def _table(name: str, figures: Mapping[str, object]) -> str:
    methods = figures["methods"]
    if not isinstance(methods, dict):
        raise TypeError("figures of a case hold its methods")
    base = next(iter(methods.values()))
    lines = [
        f"{name}: parameters of the stages {figures['stage_parameters']}, "
        f"CPU ms of a step {_rounded(figures['step_cpu_ms'])}",
        f"{'method':<28} {'quality':>8} {'up':>10} {'down':>10} {'bytes':>8} {'CPU s':>7}    CPU",
    ]
    for method, row in methods.items():
        both = row["bytes_up"] + row["bytes_down"]
        share = both / (base["bytes_up"] + base["bytes_down"])
        cpu = row["train_cpu_s"] / base["train_cpu_s"]
        lines.append(
            f"{method:<28} {row['quality']:8.4f} {row['bytes_up'] / 1e6:8.2f}MB "
            f"{row['bytes_down'] / 1e6:8.2f}MB {share:8.3f} {row['train_cpu_s']:7.1f} {cpu:6.2f}"
        )
    return "\n".join(lines)


def _rounded(times: object) -> str:
    if not isinstance(times, dict):
        raise TypeError("times by stage")
    return ", ".join(f"{stage}: {ms:.1f}" for stage, ms in times.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.progfed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the bundled digits, within a minute")
    parser.add_argument("--data-dir", type=Path, help="folder with the npz files")
    parser.add_argument("--case", action="append", choices=CASES, help="default: all")
    parser.add_argument("--method", action="append", choices=METHODS, help="default: all")
    parser.add_argument("--rounds", type=int, help="instead of the case's own")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    cases = QUICK if arguments.quick else {n: CASES[n] for n in arguments.case or CASES}
    methods = {name: METHODS[name] for name in arguments.method or METHODS}
    found: dict[str, dict[str, object]] = {}
    for name, case in cases.items():
        chosen = dataclasses.replace(case, rounds=arguments.rounds or case.rounds)
        seeds = range(arguments.seeds)
        found[name] = measured(chosen, arguments.data_dir, methods=methods, seeds=seeds)
        print(_table(name, found[name]), flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
