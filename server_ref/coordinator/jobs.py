"""What a round works with, and what it asks of its devices."""

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future

from edge_sdk.plan import Segments
from edge_sdk.plan.split import DEVICE_PARTS
from edge_sdk.values import Commit, Task, Vector, Way
from server_ref.coordinator.labels import Wanted
from server_ref.coordinator.splitting import without_split
from server_ref.settings import Terms
from server_ref.store import ChunkLog
from server_ref.store.records import UpdateRow

RecordCommit = Callable[[UpdateRow, Commit], "Future[None]"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoundParts:
    """What a current round works with."""

    run: str
    plan: str
    terms: Terms
    log: ChunkLog
    weights: Vector
    """Exact weights of the whole model that the round started from."""
    segments: Segments
    """Of the plan."""
    worker: Executor
    """One thread: what is submitted first is done first."""
    record: RecordCommit
    seed_of: Callable[[str], int]
    """Seed of a device's update."""
    now_s: Callable[[], float]
    closing: Callable[[bool], None]
    """Called once, when the round begins to close: whether to count unfinished updates."""
    split_change: Callable[[str], Vector] | None = None
    """What a device's split session made of the server's part; runs in `worker`. None where the
    round takes no split updates."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a round asked of its devices: it outlives the round for those who are carried on."""

    run: str
    plan: str
    number: int
    """Of the round: frames and commits name it, and seeds are derived from it."""
    version: int
    """The model that is trained from."""
    terms: Terms
    ways: tuple[Way, ...]
    stage_sizes: tuple[int, ...]
    wanted: Wanted
    log: ChunkLog
    """Where its chunks go, whatever round they count in."""
    seed_of: Callable[[str], int]

    def task(
        self,
        device: str,
        *,
        deadline_s: float,
        small: bool = False,
        memory_round: int | None = None,
        download_bytes: int | None = None,
    ) -> Task:
        """What `device` is offered: the same each time, but for the time left."""
        terms = self.terms
        return Task(
            run=self.run,
            round=self.number,
            plan=self.plan,
            model_version=self.version,
            stage=terms.stage,
            codecs=terms.codecs,
            seed=self.seed_of(device),
            epochs=terms.epochs,
            batch_size=terms.batch_size,
            learning_rate=terms.learning_rate,
            deadline_s=deadline_s,
            chunk_bytes=terms.chunk_bytes,
            cohort=terms.cohort,
            memory=terms.memory,
            memory_speed=terms.memory_speed,
            memory_round=memory_round,
            proximity=terms.proximity,
            least_stage=terms.least_stage if small else None,
            warm_up=terms.warm_up,
            ways=self.ways,
            download_bytes=download_bytes,
            stage_sizes=self.stage_sizes,
            report_costs=terms.report_costs,
        )


def job_of_round(parts: RoundParts, *, number: int, version: int) -> Job:
    """What a round with these parts asks."""
    terms = parts.terms

    def size(stage: int) -> int:
        return parts.segments.trained(stage, warm_up=terms.warm_up and stage == terms.stage).size

    least = terms.stage if terms.least_stage is None else terms.least_stage
    stage_sizes = tuple(size(stage) for stage in range(terms.stage + 1))
    sizes: Mapping[int, int] = {n: stage_sizes[n] for n in range(least, terms.stage + 1)}
    if parts.split_change is not None:
        sizes = {**sizes, DEVICE_PARTS: parts.segments.stage(DEVICE_PARTS).size}
    return Job(
        run=parts.run,
        plan=parts.plan,
        number=number,
        version=version,
        terms=terms,
        ways=terms.ways if parts.split_change else without_split(terms.ways),
        stage_sizes=stage_sizes,
        wanted=Wanted(run=parts.run, round=number, sizes=sizes, codecs=terms.codecs),
        log=parts.log,
        seed_of=parts.seed_of,
    )
