"""The default policy: the most progress for the least spent, within every limit. Pure.

Of all plans (stage s, codec c, steps n) of a way that the task offers it takes the one with the
greatest

    score(s, c, n) = log V(s, c, n) - thrift * log E(s, c, n)

among those that keep every limit. V is the progress that a round is expected to make of this
device's update, E what the device spends on it. Rounds until a target are proportional to 1 / V and
joules until it to E / V, so thrift 0 asks for the fewest rounds, thrift 1 for the fewest joules,
and what lies between for the least product of both, weighted: rounds**(1 - thrift) *
joules**thrift. Where joules are not known, E is the time it takes; a constant power cancels.

    E = overhead + watts * (seconds of both transfers, without margins) + n * joules a step

so it is affine in the bytes. Where being awake and a radio's tail cost most, E hardly depends on
the codec and V decides; where bytes take long, they do.

    V = sqrt(n / N) * share(s) * signal(c)

* sqrt(n / N), of the N steps that the task asks for: more local steps help, each less than the one
  before, because the local model walks off from the fleet's. The square root lies between no such
  drift (linear) and nothing but drift (flat). For thrift over 1/2 it makes n finite: as many steps
  as spend 1 / (2 thrift - 1) times what the round costs without training. Below, all N are best.
* share(s) = trainable parameters' blocks reached, (s + 1) / (S + 1) for the task's stage S: a block
  nobody trains does not improve.
* signal(c) = 1 / (1 + (e / (K * 2 h))**2) for an unbiased codec of error e among K updates: its
  noise in the mean is e / K of an update's energy, which training was measured to ignore up to
  h = `codecs.shrinkage.HARMLESS` and to suffer from at twice that. For a biased codec that leaves
  out a share e of the energy: 1 - e, for what it sends is all that arrives this round.

Limits: the deadline, what is left of the owner's bytes and joules. Time is predicted as

    T = download / safe rate + (n * seconds a step + encoding) * (1 + m) + upload / safe rate

with latency on both transfers, and must stay below `SPENDABLE` of the deadline. Safe rates carry
the link's margin, m is the margin of computing (`learned`): both tighten as predictions prove
right. The plan also says when training must end for the upload to arrive, so a board that slows
down in the middle sends what it has.

Ways: the one the task prefers (its first) is left only where limits forbid it, because split
learning shows activations and targets to the server: no plan of it keeps memory, deadline and
quotas, or those of another way promise `MUCH_MORE` progress within them. The owner's memory limit
is kept by every plan; what the machine has free decides between ways only. `ways` says what is
expected of each.

Hysteresis: a plan of another stage or codec than the last needs a score better by `BETTER`. Limits
bring no edges of their own to flap at: as a link slows down the steps that still fit, and with them
the score, fall smoothly.

Not knowing: before a link is measured the codec of fewest bits is taken of those whose update is
more than a packet and so will measure it; before a stage is timed,
`UNTIMED_SHARE` of the time goes to training. When nothing fits, the task is declined, but the 4th,
8th, 16th … in a row is tried with the cheapest plan, since a device that never tries never learns
that its link is back.
"""

import math
from dataclasses import dataclass

from edge_sdk.adaptation.learned import Learned, learn
from edge_sdk.adaptation.rates import forecast
from edge_sdk.adaptation.ways import (
    Moved,
    a_step,
    expected_peak,
    free_for_training,
    moved,
    size_of,
    untrained_j,
    ways_of,
)
from edge_sdk.codecs.shrinkage import HARMLESS
from edge_sdk.errors import Misuse
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.values import Choice, Goodput, Outcome, Reading, Task, Way

SPENDABLE = 0.9
"""Share of a deadline that is planned with."""
BETTER = 0.02
MUCH_MORE = 1.5
UNTIMED_SHARE = 0.7
LEAST_PROBE = 4
ONE_PACKET_BYTES = 1500
"""An upload up to this size is one round trip at any rate, and tells nothing of it."""
MOST_STATE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way to do a task, with what it is expected to take and give."""

    way: Way
    stage: int
    codec: str
    steps: int | None
    """None: as many as the task asks for, how many that is being unknown."""
    up_bytes: int
    """The update."""
    total_bytes: int
    """Both directions, with what split steps move."""
    peak_bytes: int | None
    """Of memory; None where it cannot be told."""
    value: float
    """V."""
    seconds: float
    """With all margins."""
    after_training_s: float | None
    """Part of `seconds` that comes after training; None before the link is known."""
    joules: float | None
    score: float

    def until_s(self, limit_s: float) -> float | None:
        """When training must end; None leaves that to the runtime."""
        after_s = self.after_training_s
        return None if after_s is None else max(0.0, limit_s - after_s)


@dataclass(frozen=True, slots=True)
class BudgetPolicy:
    """An `interfaces.LastingPolicy` that plans within deadline and quotas; see the module.

    Args:
        thrift: 0 for the fewest rounds, 1 for the fewest joules.

    Raises:
        Misuse: `thrift` is outside 0 to 1.
    """

    thrift: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.thrift <= 1:
            raise Misuse(f"thrift {self.thrift}, not 0 to 1")

    def start(self) -> Learned:
        """Nothing learned."""
        return Learned()

    def decide(self, state: Learned, task: Task, now: Reading) -> Choice:
        """The best plan within every limit, or to sit out."""
        if task.deadline_s <= 0:
            return _sits_out(task, "the round's time is over")
        if not any(ways_of(task, stage) for stage in stages_of(task)):
            return _sits_out(task, "a split trains the whole model only")
        plans = [
            _planned(state, task, now, way, stage=stage, codec=codec, thrift=self.thrift)
            for stage in stages_of(task)
            for way in ways_of(task, stage)
            for codec in task.codecs
        ]
        limit_s = SPENDABLE * task.deadline_s
        affordable = [plan for plan in plans if _is_affordable(plan, now)]
        fitting = [plan for plan in affordable if plan.seconds <= limit_s and _does_work(plan)]
        if fitting:
            best = _settled(state, _of_one_way(task, fitting, now), now)
            return self._chosen(
                best, state, task, limit_s, instead=_instead(task, best, plans, now)
            )
        if not affordable:
            return _sits_out(task, _unaffordable(plans, now))
        cheapest = min(affordable, key=lambda plan: plan.seconds)
        if task.deadline_s > 0 and _probes(state.fruitless):
            return self._chosen(cheapest, state, task, limit_s, probe=True)
        return _sits_out(
            task, f"{cheapest.seconds:.0f} s expected at the least, {limit_s:.0f} s to spend"
        )

    def learn(self, state: Learned, task: Task, choice: Choice, outcome: Outcome) -> Learned:
        """See `learned`."""
        return learn(state, task, choice, outcome)

    def dumped(self, state: Learned) -> str:
        """JSON."""
        return dump_json(state).decode()

    def loaded(self, text: str) -> Learned:
        """What `dumped` wrote.

        Raises:
            Malformed: it is something else.
        """
        return load_json(Learned, text.encode(), limit=MOST_STATE_BYTES)

    def _chosen(
        self,
        plan: Plan,
        state: Learned,
        task: Task,
        limit_s: float,
        *,
        instead: str = "",
        probe: bool = False,
    ) -> Choice:
        spends = "" if plan.joules is None else f", {plan.joules:.0f} J"
        first = "tries the cheapest" if probe else _praise(plan, state)
        work = "all steps" if plan.steps is None else f"{plan.steps} steps"
        until_s = plan.until_s(limit_s)
        if probe and until_s is not None:
            # A probe is not expected to fit, but without time for a step it sends nothing.
            until_s = max(until_s, limit_s / 2)
        return Choice(
            takes_part=True,
            way=plan.way,
            stage=plan.stage,
            codec=plan.codec,
            epochs=task.epochs,
            most_steps=None if plan.steps == _wanted(state, task) else max(1, plan.steps or 1),
            train_until_s=until_s,
            why=f"{first}: {instead}{plan.codec}, stage {plan.stage}, {work}; "
            f"{plan.seconds:.0f} of {limit_s:.0f} s, {plan.up_bytes / 1000:.0f} kB up{spends}"[
                :180
            ],
        )


def stages_of(task: Task) -> range:
    """The stages a device may train in this round."""
    least = task.stage if task.least_stage is None else min(task.least_stage, task.stage)
    return range(least, task.stage + 1)


def progress(plan_steps: int | None, steps: int | None, *, share: float, signal: float) -> float:
    """V of the module's formula; steps that are not known are all of them."""
    done = 1.0 if plan_steps is None or not steps else min(1.0, plan_steps / steps)
    return math.sqrt(done) * share * signal


def signal_of(spec: str, cohort: int) -> float:
    """What of an update's worth its codec leaves in the mean of `cohort` updates; over 0."""
    expected = forecast(spec)
    if not expected.unbiased:
        return max(1 - expected.error, 1e-6)
    return 1 / (1 + (expected.error / cohort / (2 * HARMLESS)) ** 2)


# ------------------------------------------------------------------ predicting one plan


def _planned(
    state: Learned, task: Task, now: Reading, way: Way, *, stage: int, codec: str, thrift: float
) -> Plan:
    moves = moved(state, task, way=way, stage=stage, codec=codec)
    link = now.goodput or Goodput()
    down_s = _transfer_s(link.down_bytes_per_s, link.down_margin, link.latency_s, moves.down_bytes)
    up_s = _transfer_s(link.up_bytes_per_s, link.up_margin, link.latency_s, moves.up_bytes)
    known = state.of_codec(codec)
    encode_s = (known.encode_s or 0.0) * (size_of(task, stage) or 0) if known else 0.0
    after_s = up_s + encode_s * (1 + state.margin)
    left_s = max(0.0, SPENDABLE * task.deadline_s - down_s - after_s)
    step_s, step_j = a_step(state, task, moves, link, way=way, stage=stage)
    fixed_j, rest_j = untrained_j(state, link, moves), now.joules_left
    wanted = _wanted(state, task)
    steps = _paid_for(wanted, moves, now)
    if steps is not None and step_s is not None:
        steps = int(min(steps, left_s / (step_s * (1 + state.margin))))
        if step_j is not None and fixed_j is not None:
            steps = _thrifty(steps, step_j, fixed_j, rest_j, thrift)
    count = (steps or 0) if step_s is not None else 0
    train_s = (step_s or 0.0) * count * (1 + state.margin)
    if step_s is None:  # not timed yet: training takes its share and ends when told
        train_s = UNTIMED_SHARE * SPENDABLE * task.deadline_s
    joules = None if step_j is None or fixed_j is None else fixed_j + step_j * count
    share = (stage + 1) / (task.stage + 1)
    value = progress(steps, wanted, share=share, signal=signal_of(codec, task.cohort))
    seconds = down_s + train_s + after_s
    return Plan(
        way=way,
        stage=stage,
        codec=codec,
        steps=steps,
        up_bytes=moves.up_bytes,
        total_bytes=moves.total_bytes(1 if steps is None else steps),
        peak_bytes=expected_peak(state, task, now, way=way, stage=stage),
        value=value,
        seconds=seconds,
        after_training_s=None if link.up_bytes_per_s is None else after_s,
        joules=joules,
        score=math.log(max(value, 1e-12))
        - thrift * math.log(max(joules if joules is not None else seconds, 1e-9)),
    )


def _transfer_s(rate: float | None, margin: float, latency_s: float, size_bytes: int) -> float:
    """With the margin; of an unknown link a transfer takes no time, so that bits decide."""
    return 0.0 if rate is None else latency_s + size_bytes * (1 + margin) / rate


def _wanted(state: Learned, task: Task) -> int | None:
    """Steps of the task's epochs over this device's examples."""
    if not state.examples:
        return None
    return task.epochs * -(-state.examples // task.batch_size)


def _paid_for(wanted: int | None, moves: Moved, now: Reading) -> int | None:
    """As many of the steps as the quota of bytes pays for."""
    most = None if now.bytes_left is None else moves.most_steps(now.bytes_left)
    return min((steps for steps in (wanted, most) if steps is not None), default=None)


def _thrifty(steps: int, step_j: float, fixed_j: float, rest_j: float | None, thrift: float) -> int:
    """At most `steps`: as many as thrift finds best, and as the quota pays for."""
    if thrift > 0.5:
        steps = int(min(steps, max(1.0, fixed_j / (step_j * (2 * thrift - 1)))))
    if rest_j is not None:
        steps = int(min(steps, max(0.0, (rest_j - fixed_j) / step_j)))
    return steps


# ------------------------------------------------------------------ choosing among plans


def _does_work(plan: Plan) -> bool:
    return plan.steps is None or plan.steps > 0


def _is_affordable(plan: Plan, now: Reading) -> bool:
    if now.bytes_left is not None and plan.total_bytes > now.bytes_left:
        return False
    if not _fits_memory(plan, now.memory_limit_bytes):
        return False
    if now.joules_left is None:
        return True
    return now.joules_left > 0 and (plan.joules is None or plan.joules <= now.joules_left)


def _fits_memory(plan: Plan, limit: int | None) -> bool:
    return limit is None or plan.peak_bytes is None or plan.peak_bytes <= limit


def _of_one_way(task: Task, fitting: list[Plan], now: Reading) -> list[Plan]:
    """Those of the preferred way, unless limits forbid that or most of its work."""
    free = free_for_training(now)
    fitting = [plan for plan in fitting if _fits_memory(plan, free)] or fitting
    chosen: list[Plan] = []
    for way in task.ways:
        plans = [plan for plan in fitting if plan.way == way]
        if not chosen or (plans and _most(plans) >= MUCH_MORE * _most(chosen)):
            chosen = plans
    return chosen


def _most(plans: list[Plan]) -> float:
    return max(plan.value for plan in plans)


def _instead(task: Task, chosen: Plan, plans: list[Plan], now: Reading) -> str:
    """Which way it is, where there are several, and why the preferred one was left."""
    if len(task.ways) == 1:
        return ""
    if chosen.way == task.ways[0]:
        return f"{chosen.way}, "
    preferred = [plan for plan in plans if plan.way == task.ways[0]]
    for limit, whose in (
        (now.memory_limit_bytes, "allowed"),
        (free_for_training(now), "there"),
    ):
        if limit is not None and not any(_fits_memory(plan, limit) for plan in preferred):
            need = _megabytes(_least_peak(preferred))
            return f"{chosen.way}, {task.ways[0]} needs {need} of {_megabytes(limit)} {whose}; "
    return f"{chosen.way}, deadline and quotas forbid {task.ways[0]}; "


def _settled(state: Learned, fitting: list[Plan], now: Reading) -> Plan:
    """The best plan, unless it is not better enough than the last one's kind."""
    if now.goodput is None or now.goodput.up_bytes_per_s is None:
        telling = [plan for plan in fitting if plan.up_bytes > ONE_PACKET_BYTES]
        if telling or not any(plan.up_bytes for plan in fitting):
            return min(
                telling or fitting, key=lambda plan: (forecast(plan.codec).bits, -plan.stage)
            )
    best = max(fitting, key=lambda plan: plan.score)
    last = next((p for p in fitting if _kind(p) == _last_kind(state)), best)
    return best if best.score > last.score + BETTER else last


def _probes(fruitless: int) -> bool:
    """Whether the next task is the 4th, 8th, 16th … in a row."""
    turn = fruitless + 1
    return turn >= LEAST_PROBE and turn & (turn - 1) == 0


def _sits_out(task: Task, why: str) -> Choice:
    return Choice(takes_part=False, stage=task.stage, codec=task.codecs[0], why=why[:180])


def _unaffordable(plans: list[Plan], now: Reading) -> str:
    limit = now.memory_limit_bytes
    if limit is not None and not any(_fits_memory(plan, limit) for plan in plans):
        return (
            f"{_megabytes(_least_peak(plans))} of memory are expected, {_megabytes(limit)} allowed"
        )
    plan = min(plans, key=lambda plan: plan.total_bytes)
    need = plan.total_bytes
    if now.bytes_left is not None and need > now.bytes_left:
        return f"{need:,} bytes are needed and {now.bytes_left:,} are left of the month's quota"
    left = now.joules_left or 0.0
    return f"{plan.joules or 0:.0f} J are needed and {left:.0f} J are left of the day's quota"


def _least_peak(plans: list[Plan]) -> int:
    return min((plan.peak_bytes for plan in plans if plan.peak_bytes is not None), default=0)


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"


def _praise(plan: Plan, state: Learned) -> str:
    if state.codec is None:
        return "first round"
    return "stays" if _kind(plan) == _last_kind(state) else "now best"


def _kind(plan: Plan) -> tuple[Way, int, str]:
    return plan.way, plan.stage, plan.codec


def _last_kind(state: Learned) -> tuple[Way, int | None, str | None]:
    return state.way, state.stage, state.codec
