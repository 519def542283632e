"""Sees to the owner's interests: what the device may use, what it decides, what it learned.

Between client and policy: it looks at the hardware, adds what is known of the link and what quotas
leave, asks conditions and policy, tells the policy how its choices ended, and keeps the books.
"""

import dataclasses
import logging
from typing import Any, TypeVar

from edge_sdk.adaptation import Eligibility, Quotas, Usage, forecast, shortfall, used
from edge_sdk.errors import Malformed
from edge_sdk.interfaces import LastingPolicy, Policy, Sensor
from edge_sdk.runtime.books import Books, Kept, Line, Link
from edge_sdk.telemetry import LinkMeter
from edge_sdk.values import (
    Choice,
    Cost,
    DeviceReport,
    LateCosts,
    Outcome,
    Reading,
    Task,
)

_log = logging.getLogger(__name__)

State = TypeVar("State")


class Steward:
    """One for each client.

    Args:
        policy: decides.
        sensor: looks at the hardware.
        links: what transfers say of the link.
        eligibility: when the device may work.
        quotas: what it may use.
        books: keep what was learned.
    """

    def __init__(
        self,
        policy: Policy[State],
        *,
        sensor: Sensor,
        links: LinkMeter,
        eligibility: Eligibility,
        quotas: Quotas,
        books: Books,
    ) -> None:
        self._policy: Policy[Any] = policy
        self._learned: Any = policy.start()
        self._sensor = sensor
        self._links = links
        self._eligibility = eligibility
        self._quotas = quotas
        self._books = books
        self._usage = Usage()
        self._late: LateCosts | None = None
        self._last: Reading | None = None
        self._opened = False
        self._sizes: tuple[str, tuple[int, ...]] | None = None
        self._reports = True

    def open(self) -> None:
        """Read the books, once."""
        if self._opened:
            return
        self._opened = True
        kept = self._books.load()
        self._usage, self._late = kept.usage, kept.late
        if kept.link != Link():
            self._links.estimate = kept.link.estimate()
        policy = self._policy
        if (
            kept.learned is not None
            and isinstance(policy, LastingPolicy)
            and kept.policy == type(policy).__name__
        ):
            try:
                self._learned = policy.loaded(kept.learned)
            except Malformed as error:
                _log.warning("what the policy learned is unreadable (%s); it begins afresh", error)

    def use(self, sensor: Sensor) -> None:
        """Look with this sensor from now on; its counters begin anew."""
        self._sensor, self._last = sensor, None

    # ------------------------------------------------------------------ looking

    def look(self) -> Reading:
        """A reading now, with the link's goodput and what quotas leave; what was used counts."""
        now = self._sensor.read()
        if self._last is not None and self._quotas.meters:
            self._usage = used(self._usage, self._last, now)
        self._last = now
        if now.goodput is None and (goodput := self._links.goodput()) is not None:
            now = dataclasses.replace(now, goodput=goodput)
        return self._quotas.left(self._usage, now)

    def objection(self, *, training: bool = False) -> str | None:
        """Why the device should rest now; None when it may work."""
        now = self.look()
        if training and now.joules_left is not None and now.joules_left <= 0:
            return "the day's joules are used up"
        return self._eligibility.objection(now, training=training)

    def report(self) -> DeviceReport | None:
        """How the device is, for a check-in; None while the operator wants no costs."""
        if not self._reports:
            return None
        now = self._last or self.look()
        return DeviceReport(
            battery=now.battery,
            charging=now.charging,
            temperature_c=now.temperature_c,
            throttled=None if now.throttled is None else now.throttled[:8],
            free_memory_bytes=now.free_memory_bytes,
            load=now.load,
            link=now.link,
            metered=now.metered,
            goodput=now.goodput or self._links.goodput(),
            last=self._late,
        )

    # ------------------------------------------------------------------ deciding

    def knows_sizes(self, plan: str, sizes: tuple[int, ...]) -> None:
        """Trainable parameters of each stage of a plan, for servers that do not tell."""
        self._sizes = (plan, sizes)

    def decide(self, task: Task, now: Reading) -> Choice:
        """The policy's choice, if the device may work and its quotas pay for it."""
        self._reports = task.report_costs
        self._late = None  # it went with the check-in that this task answers
        begun = self._books.begun(task)
        if (why := self._eligibility.objection(now)) is not None:
            return Choice(takes_part=False, stage=task.stage, why=why)
        if begun is not None:
            return _continued(begun.choice, begun.deadline_s, task)
        choice = self._policy.decide(self._learned, self._sized(task), now)
        if not choice.takes_part:
            return choice
        lacking = shortfall(now, size_bytes=self._expected_bytes(task, choice), joules=None)
        if lacking is None:
            return choice
        return Choice(takes_part=False, stage=task.stage, why=lacking[:200])

    def _sized(self, task: Task) -> Task:
        known = self._sizes
        if task.stage_sizes or known is None or known[0] != task.plan:
            return task
        return dataclasses.replace(task, stage_sizes=known[1])

    def _expected_bytes(self, task: Task, choice: Choice) -> int:
        bits = forecast(choice.codec).bits
        if choice.way == "split" and task.split is not None:
            steps = choice.most_steps or 1
            moved = steps * (task.split.batch_up_bytes + task.split.batch_down_bytes)
            return (task.split.download_bytes or 0) + moved + int(bits * task.split.parameters / 8)
        sizes = self._sized(task).stage_sizes
        size = sizes[choice.stage] if choice.stage < len(sizes) else 0
        return (task.download_bytes or 0) + int(bits * size / 8)

    # ------------------------------------------------------------------ learning

    def ended(self, task: Task, choice: Choice, outcome: Outcome) -> None:
        """A task ended: the policy learns, and the books are brought up to date."""
        self._learned = self._policy.learn(self._learned, self._sized(task), choice, outcome)
        if outcome.took_part:
            self._books.enter(
                Line(
                    run=task.run,
                    round=task.round,
                    delivered=outcome.delivered,
                    stage=outcome.stage,
                    codec=choice.codec,
                    steps=outcome.steps,
                    upload_bytes=outcome.upload_bytes,
                    why=choice.why,
                    costs=outcome.costs,
                )
            )
            self._late = _late_costs(task, outcome.costs)
        self.keep()

    def keep(self) -> None:
        """Write what was learned and used into the books."""
        policy = self._policy
        lasting = isinstance(policy, LastingPolicy)
        self._books.save(
            Kept(
                policy=type(policy).__name__[:200] if lasting else "",
                learned=policy.dumped(self._learned) if isinstance(policy, LastingPolicy) else None,
                link=Link.of(self._links.estimate),
                usage=self._usage,
                late=self._late,
            )
        )


def _late_costs(task: Task, costs: tuple[Cost, ...]) -> LateCosts | None:
    uploads = tuple(cost for cost in costs if cost.phase == "upload")
    if not uploads or not task.report_costs:
        return None
    return LateCosts(run=task.run, round=task.round, costs=uploads)


def _continued(choice: Choice, deadline_s: float, task: Task) -> Choice:
    """The choice that interrupted training was begun by, at the task's present deadline."""
    until_s = choice.train_until_s
    if until_s is not None:
        until_s = max(0.0, until_s - deadline_s + task.deadline_s)
    return dataclasses.replace(
        choice, train_until_s=until_s, why=f"goes on: {choice.why.removeprefix('goes on: ')}"[:200]
    )
