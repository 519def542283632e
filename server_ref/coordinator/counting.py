"""One round's chunks, decoded and summed."""

import asyncio
import dataclasses
import math
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from edge_sdk.codecs import codec_from_frame
from edge_sdk.codecs.stated import stated_error
from edge_sdk.values import Piece
from edge_sdk.wire import Frame, unpack
from server_ref.aggregate import Decoded, Mean, Tally, decode_checked
from server_ref.rounds import Member
from server_ref.store import ChunkLog, Entry

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    """Where a chunk is."""

    log: ChunkLog
    """Of the round whose task it answers."""
    entry: Entry

    def frame(self) -> Frame:
        """It, from the disk."""
        return unpack(self.log.read(self.entry))


class Counting:
    """Where a round's chunks are, and their sum. Work goes to `worker`, one job after another.

    Args:
        worker: one thread: what is submitted first is done first.
        tally: takes updates in.
        longest: norm of the longest update that is usable.
        finish: makes of a decoded update what is counted; adds the server's half of a split.
    """

    def __init__(
        self,
        worker: Executor,
        tally: Tally,
        *,
        longest: float,
        finish: Callable[[str, Decoded], Decoded] = lambda _, decoded: decoded,
    ) -> None:
        self._worker = worker
        self._tally = tally
        self._longest = longest
        self._finish = finish
        self._kept: defaultdict[str, dict[int, _Kept]] = defaultdict(dict)
        self._last_added = -1

    def hold(self, index: int, entry: Entry, log: ChunkLog) -> None:
        """A chunk is in `log`."""
        self._kept[entry.device][index] = _Kept(log, entry)

    def take_over(self, device: str, before: "Counting") -> None:
        """Know where a device's chunks are, as the round before knows it."""
        self._kept[device] = before._kept[device]

    def same(self, device: str, frame: Frame) -> bool | None:
        """Whether a frame equals the one held under its index; None where none is held."""
        kept = self._kept[device].get(frame.index)
        if kept is None:
            return None
        crc = zlib.crc32(frame.raw, zlib.crc32(bytes.fromhex(device)))
        return (kept.entry.size, kept.entry.crc) == (len(frame.raw), crc)

    async def decode(
        self, device: str, member: Member, *, trusted: bool = False, discount: float = 1.0
    ) -> Decoded:
        """A device's update as far as it is held; `trusted` where it was found usable before.

        `discount` is what is left of its weight.

        Raises:
            Refused: it is not usable; `storage`.
        """
        job = partial(self.decode_now, device, member, trusted=trusted)
        return dataclasses.replace(await self.work(job), discount=discount)

    def decode_now(self, device: str, member: Member, *, trusted: bool = False) -> Decoded:
        """`decode` in the calling thread."""
        if member.label is None:
            raise RuntimeError("an update without chunks cannot count")
        held = [kept for i, kept in sorted(self._kept[device].items()) if member.held >> i & 1]
        frames = [kept.frame() for kept in held]
        pieces = decode_checked(frames, longest=math.inf if trusted else self._longest)
        decoded = Decoded(
            stage=member.label.stage,
            examples=member.label.examples,
            error=_stated(frames),
            pieces=pieces,
        )
        return self._finish(device, decoded)

    def piece_now(self, device: str, index: int) -> Piece:
        """One chunk of an update that was found usable; in the calling thread.

        Raises:
            Refused: `storage`.
        """
        frame = self._kept[device][index].frame()
        return codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)

    async def add(self, update: Decoded, *, position: int) -> None:
        """Sum an update up; positions rise."""
        if position <= self._last_added:
            raise RuntimeError("commits were recorded in another order than summed")
        self._last_added = position
        await self.work(partial(self._tally.add, update))

    def mean_now(self) -> Mean:
        """The mean of what was added; in the calling thread."""
        return self._tally.mean()

    async def work(self, job: Callable[[], T]) -> T:
        """Do a job in the worker's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, job)


def _stated(frames: Sequence[Frame]) -> float | None:
    """What an update says of its own error: the most that one of its codes does."""
    said = [
        stated_error(codec_from_frame(*ids), [f.payload for f in frames if _ids(f) == ids])
        for ids in {_ids(frame) for frame in frames}
    ]
    known = [error for error in said if error is not None]
    return max(known, default=None)


def _ids(frame: Frame) -> tuple[int, int]:
    return frame.codec, frame.parameter
