"""What `artemis` compares: distributed gradient descent with each side compressed or not.

Philippenko and Dieuleveut, arXiv 2006.14591 (Artemis) and 2102.12528 (MCM). One device's round is
`difference -> encode -> frame`, the server's is decode and `WeightedSum`: the codecs, the memories
and the sums are those of the SDK, the bits are those of its frames, headers included.

Downlinks. *Raw*: every device that takes part fetches the model. *Gradient* (Artemis): the mean
gradient is compressed and everybody, the server too, steps by what that decodes to. *Model* (MCM):
the server keeps the exact model and broadcasts its compressed distance to a memory that follows it.
*Replica*: the same with the devices' model itself as the memory, for codecs that contract. A device
that was away fetches every message it missed, or the model when that is smaller.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from benchmarks.artemis_problem import Matrix, Problem
from edge_sdk.codecs import codec_from_spec, memory
from edge_sdk.interfaces import Codec
from edge_sdk.values import Piece, Place, Vector
from edge_sdk.wire import HEADER_BYTES
from server_ref.aggregate import WeightedSum

CHUNK_BYTES = 65_536 - HEADER_BYTES
FLOAT32 = "float32"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to talk."""

    name: str
    up: str = FLOAT32
    down: str = FLOAT32
    up_error: float = 0.0
    """omega of the uplink codec for this dimension."""
    down_error: float = 0.0
    uplink_memory: bool = False
    downlink: Literal["raw", "gradient", "model", "replica"] = "raw"
    variant: Literal["PP1", "PP2"] = "PP2"
    """Of the uplink memory when devices are missing: every memory at the server, or their mean."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all methods of one comparison share."""

    rounds: int
    step: float
    """gamma, in units of 1/L."""
    taking_part: float = 1.0
    """Probability of each device in each round."""
    batch: int | None = None
    """Examples drawn for each gradient; None takes all of a device's."""
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """One run."""

    excess: tuple[tuple[int, float], ...]
    """(bits so far, F(w) - F*) now and then."""
    bits_up: int
    bits_down: int
    header_bits: int
    """Of both, what frame headers were."""

    @property
    def bits(self) -> int:
        """All bits of all devices, both ways."""
        return self.bits_up + self.bits_down

    @property
    def excess_log10(self) -> float:
        """At the end: mean over the last tenth of the run."""
        last = [excess for _, excess in self.excess[-max(len(self.excess) // 10, 1) :]]
        return math.log10(max(float(np.mean(last)), 1e-17))

    def bits_to(self, excess: float) -> float:
        """Bits until the excess was at most this for good; infinite where it never was."""
        needed = np.inf
        for bits, reached in reversed(self.excess):
            if reached > excess:
                break
            needed = float(bits)
        return needed


def qsgd_error(dimension: int, levels: int) -> float:
    """Error of QSGD with one norm, omega: min(d / s^2, sqrt(d) / s)."""
    return min(dimension / levels**2, math.sqrt(dimension) / levels)


def run(problem: Problem, method: Method, setting: Setting, *, optimum: Matrix) -> Outcome:
    """Descend from zero for `setting.rounds` rounds."""
    return _Run(problem, method, setting).finish(problem.value(optimum))


class _Run:
    """State of server and devices."""

    def __init__(self, problem: Problem, method: Method, setting: Setting) -> None:
        self.problem, self.method, self.setting = problem, method, setting
        count, dimension = len(problem.devices), problem.dimension
        self.rng = np.random.default_rng(setting.seed)
        self.gamma = setting.step / problem.smoothness
        self.up, self.down = codec_from_spec(method.up), codec_from_spec(method.down)
        self.exact = np.zeros(dimension)
        """The server's model."""
        self.held = np.zeros(dimension)
        """The model that devices train from."""
        self.follower = np.zeros(dimension, np.float32)
        """MCM's memory of the model, the same everywhere."""
        self.kept: list[Vector | None] = [None] * count
        self.mean_memory = np.zeros(dimension)
        self.messages: list[int] = [0]
        """Bits of all broadcasts up to each version."""
        self.version_of = [0] * count
        self.bits_up, self.bits_down, self.header_bits = 0, 0, 0

    def finish(self, least: float) -> Outcome:
        every = max(self.setting.rounds // 100, 1)
        curve = [(0, self.problem.value(self.exact) - least)]
        for number in range(self.setting.rounds):
            active = self._draw()
            for device in active:
                self._fetch(device, number)
            self._broadcast(self._mean_gradient(active, number), number)
            if (number + 1) % every == 0:
                excess = self.problem.value(self.exact) - least
                curve.append((self.bits_up + self.bits_down, excess))
        return Outcome(tuple(curve), self.bits_up, self.bits_down, self.header_bits)

    def _draw(self) -> list[int]:
        """Devices of this round; drawn again while there are none."""
        count = len(self.problem.devices)
        if self.setting.taking_part >= 1:
            return list(range(count))
        while True:
            active = np.flatnonzero(self.rng.random(count) < self.setting.taking_part)
            if len(active):
                return [int(device) for device in active]

    # ------------------------------------------------------------------ down

    def _fetch(self, device: int, version: int) -> None:
        """Count what brings `device` up to date."""
        if version == 0:
            return  # everybody begins at zero
        whole = 8 * (HEADER_BYTES + 4 * self.problem.dimension)
        missed = self.messages[version] - self.messages[self.version_of[device]]
        if self.method.downlink == "raw" or missed >= whole:
            self.bits_down += whole
            self.header_bits += 8 * HEADER_BYTES
        else:
            self.bits_down += missed
            self.header_bits += 8 * HEADER_BYTES * (version - self.version_of[device])
        self.version_of[device] = version

    def _broadcast(self, gradient: Matrix, number: int) -> None:
        """Make the next version, and the message that tells devices."""
        seed = (self.setting.seed << 32) + (number << 8) + 255
        if self.method.downlink == "gradient":
            decoded = self._message(gradient, seed)
            self.exact = self.exact - self.gamma * decoded
            self.held = self.exact
            return
        self.exact = self.exact - self.gamma * gradient
        if self.method.downlink == "raw":
            self.messages.append(self.messages[-1])
            self.held = self.exact
        elif self.method.downlink == "replica":
            self.held = self.held + self._message(self.exact - self.held, seed)
        else:
            decoded = self._message(self.exact - self.follower, seed)
            self.held = self.follower + decoded
            speed = memory.artemis_speed(self.method.down_error)
            self.follower = (self.follower + speed * decoded).astype(np.float32)

    def _message(self, vector: Matrix, seed: int) -> Matrix:
        payloads, pieces = _sent(self.down, vector.astype(np.float32), seed)
        self.messages.append(self.messages[-1] + _bits(payloads))
        return _sum(pieces, len(vector), 1.0).mean()

    # ------------------------------------------------------------------ up

    def _mean_gradient(self, active: Sequence[int], number: int) -> Matrix:
        """The estimate of F's gradient; memories move."""
        method, dimension = self.method, self.problem.dimension
        count = len(self.problem.devices)
        speed = memory.artemis_speed(method.up_error)
        total, moved = np.zeros(dimension), np.zeros(dimension)
        for device in active:
            gradient = self._gradient(device).astype(np.float32)
            kept = self.kept[device] if method.uplink_memory else None
            seed = (self.setting.seed << 32) + (number << 8) + device
            payloads, pieces = _sent(self.up, memory.difference(gradient, kept), seed)
            self.bits_up += _bits(payloads)
            self.header_bits += 8 * HEADER_BYTES * len(payloads)
            decoded = _sum(pieces, dimension, 1.0).mean()
            total += decoded
            if method.uplink_memory:
                if method.variant == "PP1" and kept is not None:
                    total += kept
                moved += decoded
                self.kept[device] = memory.memory_after(
                    self.up, kept, payloads, dimension=dimension, seed=seed,
                    counted=[(0, len(payloads))], speed=speed,
                )  # fmt: skip
        estimate = total / (self.setting.taking_part * count)
        if method.uplink_memory and method.variant == "PP2":
            estimate = estimate + self.mean_memory
        self.mean_memory += speed * moved / count
        return estimate

    def _gradient(self, device: int) -> Matrix:
        chosen = None
        if self.setting.batch is not None:
            size = len(self.problem.devices[device])
            chosen = self.rng.integers(size, size=self.setting.batch)
        return self.problem.gradient(device, self.held, chosen=chosen)


def _sent(codec: Codec, vector: Vector, seed: int) -> tuple[list[bytes], list[Piece]]:
    payloads = list(codec.encode(vector, seed=seed, chunk_bytes=CHUNK_BYTES))
    places = (Place(len(vector), index, len(payloads), seed) for index in range(len(payloads)))
    return payloads, [codec.decode(p, place) for p, place in zip(payloads, places, strict=True)]


def _bits(payloads: Sequence[bytes]) -> int:
    return 8 * sum(HEADER_BYTES + len(payload) for payload in payloads)


def _sum(pieces: Sequence[Piece], dimension: int, weight: float) -> WeightedSum:
    total = WeightedSum(dimension)
    total.add(pieces, weight)
    return total
