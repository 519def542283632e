"""One federated run in one process: real engine, real codecs, frames counted, the server's sum."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from benchmarks.contenders import encode_once
from benchmarks.fleet import Fleet
from edge_sdk.codecs import memory
from edge_sdk.codecs.shrinkage import Stated, judge
from edge_sdk.codecs.stated import stated_error
from edge_sdk.errors import Corrupt
from edge_sdk.interfaces import Codec
from edge_sdk.values import Piece, Place, Vector
from edge_sdk.wire import HEADER_BYTES
from server_ref.aggregate import WeightedSum, move, norm, norm_limit

MakeCodec = Callable[[Fleet, Vector], Codec]
"""The codec for an update of a fleet."""


@dataclasses.dataclass(frozen=True, slots=True)
class Scheme:
    """How updates travel in a run."""

    name: str
    codec: MakeCodec
    feedback: bool = False
    """Devices keep what was left out and add it to their next update."""
    artemis: bool = False
    """Devices send differences to a memory whose mean the server holds (PP2)."""
    shrink: bool = False
    """The server shrinks a mean that is mostly noise, by the errors that updates state."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """A run's figures."""

    accuracy: float
    """On the test set, mean of the last three evaluations; 0 for a run that diverged."""
    bytes_up: int
    """All frames of all devices, headers included."""
    bits: float
    """`bytes_up` as bits per coordinate and update."""
    diverged: bool
    curve: tuple[tuple[int, float], ...]
    """(bytes up so far, accuracy) at every evaluation."""


def run(fleet: Fleet, scheme: Scheme, *, per_round: int, rounds: int, seed: int) -> Outcome:
    """Train `rounds` rounds of `per_round` devices drawn from the seed."""
    return _Run(fleet, scheme, per_round, seed).finish(rounds)


@dataclasses.dataclass(frozen=True, slots=True)
class _Sent:
    pieces: list[Piece]
    weight: float
    vnmse: float


class _Run:
    """The state of one run."""

    def __init__(self, fleet: Fleet, scheme: Scheme, per_round: int, seed: int) -> None:
        self._fleet, self._scheme = fleet, scheme
        self._per_round, self._seed = per_round, seed
        self._rng = np.random.default_rng(seed)
        self._engine = fleet.engine()
        self._weights = fleet.plan.initial_weights()
        self._kept: dict[int, Vector] = {}
        """Residual or memory of each device."""
        self._mean_memory = np.zeros(len(self._weights))
        self._bytes, self._updates = 0, 0
        sizes = [len(device) for device in fleet.devices]
        self._shares = [size / sum(sizes) for size in sizes]

    def finish(self, rounds: int) -> Outcome:
        """All rounds; evaluated some ten times and in the last three."""
        every = max(rounds // 10, 1)
        curve: list[tuple[int, float]] = []
        diverged = False
        for number in range(1, rounds + 1):
            if not self._round(number):
                diverged = True
                break
            if number % every == 0 or number > rounds - 3:
                curve.append((self._bytes, self._accuracy()))
        last = [accuracy for _, accuracy in curve[-3:]]
        return Outcome(
            accuracy=0.0 if diverged else float(np.mean(last)),
            bytes_up=self._bytes,
            bits=8 * self._bytes / max(self._updates, 1) / len(self._weights),
            diverged=diverged,
            curve=tuple(curve),
        )

    def _round(self, number: int) -> bool:
        """Whether the model is still one to train from."""
        count = len(self._fleet.devices)
        chosen = self._rng.choice(count, self._per_round, replace=False).tolist()
        sent: list[_Sent] = []
        longest = norm_limit(self._weights)
        for device in chosen:
            seed = 1_000_000 * (self._seed + 1) + 1000 * number + device
            update = self._fleet.update(self._engine, self._weights, device, seed=seed)
            if not norm(update) < longest:
                return False
            sent.append(self._send(update, device, seed))
        mean = self._mean(sent)
        if self._scheme.artemis:
            mean = mean + self._mean_memory
            self._move_memory(chosen, sent)
        self._weights = move(self._weights, mean)
        return bool(np.isfinite(self._weights).all())

    def _send(self, update: Vector, device: int, seed: int) -> _Sent:
        """Encode as the scheme says, decode as the server does, remember what is to be kept."""
        kept = self._kept.get(device)
        if self._scheme.artemis:
            update = memory.difference(update, kept)
        elif self._scheme.feedback:
            update = memory.compensate(update, kept)
        codec = self._scheme.codec(self._fleet, update)
        payloads = encode_once(codec, update, seed=seed)
        self._bytes += sum(HEADER_BYTES + len(payload) for payload in payloads)
        self._updates += 1
        vnmse = stated_error(codec, payloads) or 0.0
        everything = [(0, len(payloads))]
        if self._scheme.artemis:
            self._kept[device] = memory.memory_after(
                codec,
                kept,
                payloads,
                dimension=len(update),
                seed=seed,
                counted=everything,
                speed=memory.artemis_speed(vnmse),
            )
        elif self._scheme.feedback:
            self._kept[device] = memory.residual_after(
                codec, update, payloads, seed=seed, counted=everything
            )
        pieces = [
            codec.decode(payload, Place(len(update), index, len(payloads), seed))
            for index, payload in enumerate(payloads)
        ]
        return _Sent(pieces, float(len(self._fleet.devices[device])), vnmse)

    def _mean(self, sent: Sequence[_Sent]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        total = WeightedSum(len(self._weights))
        for each in sent:
            total.add(each.pieces, each.weight)
        factor = 1.0
        if self._scheme.shrink:
            factor = judge([_describe(each) for each in sent]).factor
        return total.mean() * factor

    def _move_memory(self, chosen: Sequence[int], sent: Sequence[_Sent]) -> None:
        """Keep the server's mean of all memories what it is: each counts by its device's share."""
        for device, each in zip(chosen, sent, strict=True):
            step = self._shares[device] * memory.artemis_speed(each.vnmse)
            for piece in each.pieces:
                piece.where.add(
                    np.multiply(piece.values, step, dtype=np.float64), self._mean_memory
                )

    def _accuracy(self) -> float:
        try:
            found = self._engine.evaluate(self._weights, self._fleet.test)
        except Corrupt:  # the loss is not finite
            return 0.0
        return found.accuracy or 0.0


def _describe(sent: _Sent) -> Stated:
    energy = sum(memory.squared_norm(piece.values) for piece in sent.pieces)
    return Stated(weight=sent.weight, vnmse=sent.vnmse, energy=energy)


def least_bytes(
    outcomes: Mapping[str, Sequence[Outcome]], accuracy: float
) -> tuple[str, float] | None:
    """The scheme with the fewest mean bytes whose mean accuracy is at least this; None if none."""
    able = {
        name: float(np.mean([outcome.bytes_up for outcome in each]))
        for name, each in outcomes.items()
        if float(np.mean([outcome.accuracy for outcome in each])) >= accuracy
    }
    if not able:
        return None
    best = min(able, key=able.__getitem__)
    return best, able[best]
