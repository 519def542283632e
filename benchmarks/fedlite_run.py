"""One federated run with split learning, in one process: real graphs, codecs and message bytes."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from benchmarks.fedlite_fleet import SplitFleet
from edge_sdk.codecs import codec_from_spec
from edge_sdk.codecs.rows import rows_codec
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.engines.schedule import epoch_seed
from edge_sdk.engines.split import SplitTerms
from edge_sdk.engines.split_device import DeviceHalf
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.engines.split_server import Progress, ServerHalf
from edge_sdk.errors import EdgeError
from edge_sdk.plan.split import Split
from edge_sdk.values import Place, TrainSettings, Vector
from edge_sdk.wire import HEADER_BYTES
from edge_sdk.wire.batch import unpack_batch

CHUNK_BYTES = 65_536


@dataclasses.dataclass(frozen=True, slots=True)
class Scheme:
    """How a run's bytes travel."""

    activations: str | None
    """None: plain federated averaging of the whole model."""
    correction: float = 0.0
    gradients: str = "float32"
    update: str = "float32"
    """Codec of what devices send of weights."""

    @property
    def name(self) -> str:
        """For tables."""
        if self.activations is None:
            return f"FedAvg, updates {self.update}"
        parts = [self.activations]
        parts += [f"lambda {self.correction:g}"] if self.correction else []
        parts += [f"gradients {self.gradients}"] if self.gradients != "float32" else []
        parts += [f"updates {self.update}"] if self.update != "float32" else []
        return ", ".join(parts)


@dataclasses.dataclass(slots=True)
class Traffic:
    """Bytes of all devices: whole messages and frames with their headers."""

    activations: int = 0
    """Payloads of activations alone, without headers and targets."""
    raw_activations: int = 0
    """The same as float32."""
    paper_bits: float = 0.0
    """The same by FedLite's formula with 64-bit numbers."""
    paper_raw_bits: float = 0.0
    messages_up: int = 0
    messages_down: int = 0
    weights_up: int = 0
    weights_down: int = 0

    @property
    def up(self) -> int:
        """Everything sent by devices."""
        return self.messages_up + self.weights_up

    @property
    def both(self) -> int:
        """Everything."""
        return self.up + self.messages_down + self.weights_down


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A run's figures."""

    name: str
    accuracy: float
    """Mean of the last three evaluations; 0 for a run that diverged."""
    steps: int
    traffic: Traffic
    curve: tuple[tuple[int, float], ...]
    """(round, accuracy) at every evaluation."""

    @property
    def compression(self) -> float:
        """Of activations alone, in bytes."""
        return self.traffic.raw_activations / max(self.traffic.activations, 1)

    @property
    def by_the_paper(self) -> float:
        """The same as FedLite counts it."""
        return self.traffic.paper_raw_bits / max(self.traffic.paper_bits, 1)


class Run:
    """The state of one run."""

    def __init__(self, fleet: SplitFleet, scheme: Scheme, *, seed: int = 0) -> None:
        self._fleet, self._scheme, self._seed = fleet, scheme, seed
        self._plan = fleet.plan
        self._layout = fleet.plan.layout()
        self._weights = fleet.plan.initial_weights()
        self._whole = OnnxRuntimeEngine(fleet.plan)
        self._parts = [PartEngine(fleet.plan, part) for part in range(self._split.parts)]
        self._rng = np.random.default_rng(seed)
        self._traffic = Traffic()
        self._steps = 0

    @property
    def _split(self) -> Split:
        split = self._plan.split
        if split is None:
            raise ValueError("the fleet's plan has no split")
        return split

    def finish(self, rounds: int, *, every: int = 5) -> Outcome:
        """Train all rounds; evaluated every so many and in the last three, unquantized."""
        curve: list[tuple[int, float]] = []
        diverged = False
        for number in range(1, rounds + 1):
            try:
                self._round(number)
            except EdgeError:
                diverged = True
                break
            if number % every == 0 or number > rounds - 3:
                found = self._whole.evaluate(self._weights, self._fleet.test)
                curve.append((number, found.accuracy or 0.0))
        accuracy = 0.0 if diverged else float(np.mean([a for _, a in curve[-3:]]))
        return Outcome(self._scheme.name, accuracy, self._steps, self._traffic, tuple(curve))

    def _round(self, number: int) -> None:
        chosen = self._rng.choice(len(self._fleet.devices), self._fleet.per_round, replace=False)
        total = np.zeros(len(self._weights))
        examples = 0
        for device in chosen.tolist():
            data = self._fleet.devices[device]
            seed = 1_000_000 * (self._seed + 1) + 1000 * number + device
            work = self._alone if self._scheme.activations is None else self._together
            total += len(data) * (work(data, number, seed) - self._weights).astype(np.float64)
            examples += len(data)
        self._weights = (self._weights + total / examples).astype(np.float32)

    def _alone(self, data: ArrayDataset, _number: int, seed: int) -> Vector:
        """The whole model on the device."""
        settings = TrainSettings(
            batch_size=self._fleet.batch_size, learning_rate=self._fleet.learning_rate, seed=seed
        )
        trained = self._whole.train(self._weights, data, settings)
        self._steps += trained.steps
        return self._exchanged(self._weights, trained.weights, seed)

    def _together(self, data: ArrayDataset, number: int, seed: int) -> Vector:
        """The device's part on the device, the rest on the server."""
        scheme = self._scheme
        terms = SplitTerms(
            run="0" * 16,
            round=number,
            seed=seed,
            learning_rate=self._fleet.learning_rate,
            activations=scheme.activations or "float32",
            gradients=scheme.gradients,
            correction=scheme.correction,
        )
        whole = self._layout.split(self._weights)
        mine, theirs = (self._split.layout(part).flatten(whole) for part in (0, 1))
        device = DeviceHalf(self._plan, self._parts[:1], [mine], terms)
        server = ServerHalf(self._plan, self._parts[1], terms)
        progress = Progress(self._parts[1].start(theirs))
        order = epoch_seed(seed, 0)
        for x, y in data.batches(size=self._fleet.batch_size, seed=order):
            message = device.begin(x, y)
            progress, answer = server.take(progress, message)
            device.take(answer)
            self._count(message, answer)
        moved = self._exchanged(mine, device.weights(), seed)
        after = self._split.layout(0).split(moved)
        after |= self._split.layout(1).split(self._parts[1].weights(progress.state))
        return self._layout.flatten(after)

    def _count(self, message: bytes, answer: bytes) -> None:
        traffic = self._traffic
        sent = unpack_batch(message)
        traffic.messages_up += len(message)
        traffic.messages_down += len(answer)
        traffic.activations += len(sent.payload)
        traffic.raw_activations += 4 * sent.examples * sent.numbers
        bits = paper_bits(self._scheme.activations or "float32", sent.examples, sent.numbers)
        traffic.paper_bits += bits
        traffic.paper_raw_bits += 64 * sent.examples * sent.numbers
        self._steps += 1

    def _exchanged(self, before: Vector, after: Vector, seed: int) -> Vector:
        """Weights as the server has them once the update was sent, and the bytes both ways."""
        self._traffic.weights_down += _frames([before.tobytes()])
        codec = codec_from_spec(self._scheme.update)
        payloads = codec.encode(after - before, seed=seed, chunk_bytes=CHUNK_BYTES - HEADER_BYTES)
        self._traffic.weights_up += sum(len(p) + HEADER_BYTES for p in payloads)
        moved = before.copy()
        for index, payload in enumerate(payloads):
            piece = codec.decode(payload, Place(len(before), index, len(payloads), seed))
            piece.where.add(piece.values, moved)
        return moved


def paper_bits(spec: str, examples: int, numbers: int) -> float:
    """Bits of a batch's activations by FedLite's formula, numbers of 64 bits."""
    if not spec.startswith("product"):
        return 64.0 * examples * numbers
    words = dict(
        word.split("=") for word in rows_codec(spec).spec.removeprefix("product:").split(",")
    )
    q, centroids, groups = int(words["q"]), int(words["l"]), int(words.get("r", "1"))
    return 64 * (numbers / q) * centroids * groups + examples * q * float(np.log2(centroids))


def _frames(parts: Sequence[bytes]) -> int:
    """Bytes of float32 snapshots in frames of at most `CHUNK_BYTES`."""
    room = CHUNK_BYTES - HEADER_BYTES
    return sum(len(part) + HEADER_BYTES * -(-len(part) // room) for part in parts)
