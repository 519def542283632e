"""A task under way, to be learned from when it has ended."""

import dataclasses

from edge_sdk.plan import Plan
from edge_sdk.plan.split import DEVICE_PARTS
from edge_sdk.runtime.phases import PhaseLog
from edge_sdk.runtime.spool import TrainedUpdate
from edge_sdk.runtime.workbench import layout_sent
from edge_sdk.values import Choice, Outcome, Task


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """A task, how it is done, and what that cost so far."""

    task: Task
    choice: Choice
    log: PhaseLog
    arrived_s: float
    """When the task came, on the clock."""

    def outcome(
        self,
        update: TrainedUpdate | None,
        plan: Plan | None,
        *,
        examples: int,
        delivered: bool,
        late: bool,
        now_s: float,
    ) -> Outcome:
        """How it ended: with this update or none, delivered or not."""
        dimension: int | None = None
        if plan is not None:
            stage = DEVICE_PARTS if self.choice.way == "split" else self.choice.stage
            dimension = layout_sent(plan, stage, warm_up=self.task.warm_up).size
        return Outcome(
            took_part=True,
            delivered=delivered,
            late=late,
            stage=self.choice.stage,
            dimension=dimension,
            examples=examples,
            steps=0 if update is None else update.commit.steps,
            upload_bytes=None if update is None else sum(map(len, update.frames)),
            seconds=max(0.0, now_s - self.arrived_s),
            costs=self.log.costs,
            after=self.log.last,
        )
