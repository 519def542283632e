"""From a task to a trained update on disk, with plan, model and engine kept for the next task."""

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from edge_sdk.datasets import ArrayDataset
from edge_sdk.errors import Malformed
from edge_sdk.interfaces import Dataset, Engine, KeepGoing, Transport
from edge_sdk.plan import Plan, Segments, load_plan, read_model
from edge_sdk.plan.split import DEVICE_PARTS
from edge_sdk.runtime.carrying import before_sending
from edge_sdk.runtime.frames import codec_for, has_diverged, update_frames
from edge_sdk.runtime.phases import PhaseLog
from edge_sdk.runtime.replica import HeldModel
from edge_sdk.runtime.spool import TrainedUpdate
from edge_sdk.runtime.state import StateFolder
from edge_sdk.runtime.trainer import Trainer
from edge_sdk.runtime.training import run_in_thread
from edge_sdk.values import Choice, Commit, Layout, Task, Trained, TrainSettings, Vector

if TYPE_CHECKING:
    from edge_sdk.runtime.split import SplitTrainer

_log = logging.getLogger(__name__)


class MakeEngine(Protocol):
    """Makes what trains one stage of a plan."""

    def __call__(self, plan: Plan, stage: int, /, *, warm_up: bool = False) -> Engine:
        """With `warm_up`, train only what the stage added."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class NothingToSend:
    """The task was worked on and there is no update; `why` is a sentence for the operator."""

    why: str


class Workbench:
    """Where one device works on its tasks, one at a time.

    Args:
        data: this device's examples; an `ArrayDataset` is fitted to each plan.
        make_engine: the engine for one stage of a plan, or for its warm-up.
        folder: keeps plans, the model held and the trained update.
        transport: where plans and models come from.
        trainer: trains, and stops when it must.
        make_split: what trains with a server; None where the transport cannot carry that.
    """

    def __init__(
        self,
        data: Dataset,
        make_engine: MakeEngine,
        *,
        folder: StateFolder,
        transport: Transport,
        trainer: Trainer,
        make_split: "Callable[[], SplitTrainer] | None" = None,
    ) -> None:
        self._data = self._fitted = data
        self._make_engine = make_engine
        self._folder = folder
        self._transport = transport
        self._trainer = trainer
        self._make_split = make_split
        self._splitter: SplitTrainer | None = None
        self._fault: tuple[str, str] | None = None
        self._plan: Plan | None = None
        self._segments: tuple[str, Segments] | None = None
        self._engine: tuple[tuple[str, int, bool], Engine] | None = None

    @property
    def model(self) -> HeldModel | None:
        """The version of the model held, if any."""
        return self._folder.replica.held

    @property
    def plan(self) -> Plan | None:
        """The plan worked on last, if any."""
        return self._plan

    def fault_of(self, digest: str) -> str | None:
        """What is wrong with this plan, if it is the last one found to be broken."""
        return self._fault[1] if self._fault is not None and self._fault[0] == digest else None

    async def work(
        self, task: Task, choice: Choice, log: PhaseLog, *, stop_s: float
    ) -> TrainedUpdate | NothingToSend:
        """Download what is missing, train, encode and save.

        Args:
            task: what to do.
            choice: how to do it.
            log: written after each phase.
            stop_s: when training stops, on the clock.

        Raises:
            Unreachable, Refused: by the server, while downloading.
            Malformed: a download is not what the protocol says.
            Misuse: the data does not fit the plan.
            Unavailable: this machine cannot train the plan or save the update.
            Interrupted: the device should rest; training goes on another time.
        """
        if (await self._transport.progress(task)).held:
            # Two trainings, of which parts arrive, must not become one update.
            return NothingToSend("chunks are held of a training that this device has forgotten")
        plan = await self._fetch_plan(task.plan)
        if isinstance(plan, NothingToSend):
            return plan
        train = self._train
        if choice.way == "split":
            if plan.split is None or self._make_split is None:
                return NothingToSend("this device or plan cannot train split")
            choice = dataclasses.replace(choice, stage=DEVICE_PARTS)
            train = self._train_split
        if task.warm_up and (choice.way == "split" or not plan.has_warm_up(choice.stage)):
            return NothingToSend("there is no such warm-up")
        weights = await self._fetch_model(plan, task, choice)
        log.end("download")
        try:
            trained = await train(plan, weights, task, choice, stop_s=stop_s)
        except Malformed as error:  # the engine's word on the plan's graphs
            return self._give_up(task.plan, error)
        log.end("train")
        return await run_in_thread(
            lambda _: self._save(plan, weights, trained, task=task, choice=choice, log=log)
        )

    async def prepare(self, digest: str) -> None:
        """Fetch a plan before there is a task for it: on a slow link it would eat the deadline.

        Raises:
            Unreachable, Refused, Malformed: by the server; a task will try again.
            Misuse: the data does not fit the plan.
        """
        if self.fault_of(digest) is None:
            await self._fetch_plan(digest)

    async def _fetch_plan(self, digest: str) -> Plan | NothingToSend:
        """The task's plan: from memory, from disk or from the server."""
        if self._plan is None or self._plan.digest != digest:
            plan = self._folder.load_plan(digest)
            if plan is None:
                data = await self._transport.plan(digest)
                try:
                    plan = load_plan(data)
                except Malformed as error:
                    return self._give_up(digest, error)
                self._folder.save_plan(plan)
            self._fitted = (
                self._data.fit(plan) if isinstance(self._data, ArrayDataset) else self._data
            )
            self._plan = plan
        return self._plan

    def _give_up(self, digest: str, error: Malformed) -> NothingToSend:
        """Remember that this plan cannot be used: the same bytes would fail again."""
        why = f"plan {digest[:12]} cannot be used: {error}"
        self._fault = (digest, why)
        return NothingToSend(why)

    async def _fetch_model(self, plan: Plan, task: Task, choice: Choice) -> Vector:
        """The model version to train from; kept in case the next task starts from it as well."""
        replica, segments = self._folder.replica, self._segments_of(plan)
        if replica.held is not None and not replica.held.leads_to(task, segments):
            replica.drop()
        held, stage = replica.held, choice.stage
        if held is None or (held.version, held.stage) != (task.model_version, stage):
            vectors, size = await self._fetch_segments(plan, task, stage, held)
            held = HeldModel(task.run, task.plan, task.model_version, stage, vectors)
            fresh = held
            await run_in_thread(lambda _: replica.take(fresh, download_bytes=size))
        return segments.gather(held.segments, stage)

    async def _fetch_segments(
        self, plan: Plan, task: Task, stage: int, held: HeldModel | None
    ) -> tuple[Mapping[int, Vector], int]:
        """The stage's segments in the task's version, and what they cost in bytes.

        The plan's own weights are version 0, so every device holds that one at least.
        """
        segments = self._segments_of(plan)
        wanted = segments.of_stage(stage)
        have, held_stage = 0, None
        vectors: Mapping[int, Vector]
        if held is not None and held.version > 0:
            have, held_stage, vectors = held.version, held.stage, held.segments
        else:
            whole = plan.whole_weights()
            vectors = {segment.number: segment.where.take(whole) for segment in wanted}
        if task.model_version == 0:
            return vectors, 0
        data = await self._transport.model(
            task.run, task.model_version, have=have, stage=stage, held_stage=held_stage
        )
        found = read_model(
            data,
            run=task.run,
            version=task.model_version,
            segments=wanted,
            held=vectors,
            have=have,
        )
        return found, len(data)

    def _segments_of(self, plan: Plan) -> Segments:
        if self._segments is None or self._segments[0] != plan.digest:
            self._segments = (plan.digest, plan.segments())
        return self._segments[1]

    async def _train(
        self, plan: Plan, weights: Vector, task: Task, choice: Choice, *, stop_s: float
    ) -> Trained:
        settings = TrainSettings(
            epochs=choice.epochs,
            batch_size=task.batch_size,
            learning_rate=task.learning_rate,
            seed=task.seed,
            most_steps=choice.most_steps,
            proximity=task.proximity,
        )

        def work(keep_going: KeepGoing) -> Trained:
            return self._trainer.train(
                self._engine_for(plan, choice.stage, warm_up=task.warm_up),
                weights,
                self._fitted,
                settings,
                task=task,
                choice=choice,
                keep_going=keep_going,
                stop_s=stop_s,
            )

        return await run_in_thread(work)

    async def _train_split(
        self, plan: Plan, weights: Vector, task: Task, choice: Choice, *, stop_s: float
    ) -> Trained:
        """Train the device's parts, and the server's with them."""
        if self._splitter is None and self._make_split is not None:
            self._splitter = self._make_split()
        if self._splitter is None:
            raise RuntimeError("nothing here trains split")
        return await self._splitter.train(
            plan, weights, self._fitted, task=task, choice=choice, stop_s=stop_s
        )

    def _engine_for(self, plan: Plan, stage: int, *, warm_up: bool) -> Engine:
        """The engine for this stage, kept because opening a graph is slow."""
        wanted = (plan.digest, stage, warm_up)
        if self._engine is None or self._engine[0] != wanted:
            self._engine = None  # two at once may not fit into memory
            self._engine = (wanted, self._make_engine(plan, stage, warm_up=warm_up))
        return self._engine[1]

    def _save(
        self,
        plan: Plan,
        weights: Vector,
        trained: Trained,
        *,
        task: Task,
        choice: Choice,
        log: PhaseLog,
    ) -> TrainedUpdate | NothingToSend:
        """Encode what was learned and put it on disk, if it is worth sending."""
        delta = trained.weights - weights
        if trained.steps == 0:
            return NothingToSend("training found no time for a step")
        if has_diverged(delta):
            return NothingToSend("training diverged")
        segments = self._segments_of(plan)
        where = segments.trained(choice.stage, warm_up=task.warm_up)
        sent = before_sending(
            segments.trained_within(choice.stage, warm_up=task.warm_up).take(delta),
            task,
            self._folder.spool.carried(),
            where=where,
            size=segments.size,
        )
        if sent is None:
            return NothingToSend("the memory that the server goes on from is lost")
        loss = trained.loss if trained.loss is not None and math.isfinite(trained.loss) else None
        layout = layout_sent(plan, choice.stage, warm_up=task.warm_up)
        codec = codec_for(sent.vector, task, choice, layout)
        frames = update_frames(
            sent.vector, task, codec, stage=choice.stage, examples=trained.examples
        )
        log.end("encode")
        commit = Commit(
            chunks=len(frames),
            examples=trained.examples,
            steps=trained.steps,
            loss=loss,
            codec=codec.spec,
            why=choice.why,
            costs=log.costs if task.report_costs else (),
        )
        update = TrainedUpdate(task, commit, tuple(frames), sent.owed, where)
        self._folder.spool.save(update)
        _log.info(
            "round %d: %d steps on %d examples, loss %s; %d bytes in %d chunks",
            task.round,
            trained.steps,
            trained.examples,
            "unknown" if loss is None else f"{loss:.4f}",
            sum(map(len, frames)),
            len(frames),
        )
        return update


def layout_sent(plan: Plan, stage: int, *, warm_up: bool) -> Layout:
    """Of an update: what was trained, and nothing else."""
    return plan.trained(stage, warm_up=True) if warm_up else plan.layout(stage)
