"""The version of the model that this device holds, in memory and, where that pays, on disk.

A later version may come as deltas to what is held, a fraction of the whole. Without a file a device
that starts again would pay all deltas since version 0, or a whole model.

The file is written as soon as a version is downloaded: what ends training early (a power cut, the
owner's conditions) is what makes a device start again. Flash wears, so it is not written with every
version, but when a quarter of the model's size was downloaded since. What is written is then at
most four times what is downloaded, and what a restart costs at most a quarter of the model. In runs
that send every version whole, what is held is of no use: the first is written, no other.
"""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass

from edge_sdk.errors import Corrupt, Malformed, Unavailable
from edge_sdk.plan import Segments
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.runtime.records import MAX_HEADER_BYTES, load_record, remove_durably, save_record
from edge_sdk.values import STRICT, Count, Digest, RunId, Stage, Task, Vector

_log = logging.getLogger(__name__)

_WHOLE_BYTES = 2
"""For each parameter, at least, in a version that comes whole: float16. Less must be deltas."""


@dataclasses.dataclass(frozen=True, slots=True)
class HeldModel:
    """A version of the model held in memory."""

    run: str
    plan: str
    version: int
    stage: int
    segments: Mapping[int, Vector] = dataclasses.field(repr=False)
    """By number, those of the stage. Not to be written into."""

    @property
    def size(self) -> int:
        """Parameters."""
        return sum(map(len, self.segments.values()))

    def leads_to(self, task: Task, segments: Segments) -> bool:
        """Whether `task` goes on from here: same run and plan, and no earlier version.

        A server that went back to a backup numbers other models alike.
        """
        sizes = {segment.number: segment.size for segment in segments.of_stage(self.stage)}
        return (
            (self.run, self.plan) == (task.run, task.plan)
            and self.version <= task.model_version
            and {number: len(vector) for number, vector in self.segments.items()} == sizes
        )


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Header:
    run: RunId
    plan: Digest
    version: Count
    stage: Stage
    segments: Annotated[tuple[tuple[Count, Count], ...], Field(max_length=255)]
    """Number and size of each, in the order of the body."""


class Replica:
    """What is held, and the one file it is kept in.

    Args:
        path: the file; its folder is made when it is first written. None keeps nothing on disk.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._held: HeldModel | None = None
        self._looked = False
        self._unsaved_bytes = 0
        """Downloaded since the version on disk."""

    @property
    def held(self) -> HeldModel | None:
        """The version held, if any; read from disk when it is first asked for."""
        if not self._looked:
            self._looked = True
            self._held = self._load()
        return self._held

    def take(self, model: HeldModel, *, download_bytes: int) -> None:
        """Hold `model` from now on; write it if that pays. A full disk is no failure.

        Args:
            model: the new version.
            download_bytes: what it cost to get it from the one held before.
        """
        of_use = self.held is None or download_bytes < _WHOLE_BYTES * model.size
        self._held = model
        self._unsaved_bytes += download_bytes
        if of_use and self._unsaved_bytes >= max(1, model.size):  # a quarter: four bytes each
            self._save(model)

    def drop(self) -> None:
        """Hold nothing: the run or the plan is another."""
        self._held, self._looked, self._unsaved_bytes = None, True, 0
        if self._path is None:
            return
        try:
            remove_durably(self._path)
        except OSError as error:
            _log.warning("an old model is still on disk: %s", error.strerror)

    def _save(self, model: HeldModel) -> None:
        if self._path is None:
            return
        header = _Header(
            run=model.run,
            plan=model.plan,
            version=model.version,
            stage=model.stage,
            segments=tuple((number, len(vector)) for number, vector in model.segments.items()),
        )
        vectors = (np.ascontiguousarray(vector, "<f4") for vector in model.segments.values())
        body = [vector.data.cast("B") for vector in vectors]  # no copy
        try:
            save_record(self._path, dump_json(header), body)
        except Unavailable as error:
            _log.warning("the model is not kept: %s", error)
        else:
            self._unsaved_bytes = 0

    def _load(self) -> HeldModel | None:
        if self._path is None:
            return None
        try:
            record = load_record(self._path)
            return None if record is None else _parsed(record.header, record.body)
        except (Malformed, OSError) as error:
            _log.warning("kept model unreadable (%s); it will be downloaded", error)
            return None


def _parsed(header: bytes, body: bytes) -> HeldModel:
    fields = load_json(_Header, header, limit=MAX_HEADER_BYTES)
    if 4 * sum(size for _, size in fields.segments) != len(body):
        raise Corrupt("a model of another size than its header says")
    vectors: dict[int, Vector] = {}
    start = 0
    for number, size in fields.segments:
        part = np.frombuffer(body, "<f4", count=size, offset=start)
        vectors[number] = part.astype(np.float32, copy=False)
        start += 4 * size
    return HeldModel(fields.run, fields.plan, fields.version, fields.stage, vectors)
