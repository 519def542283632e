"""The default policy: the most progress for the least spent, within every limit. Pure.

Of all plans (stage s, codec c, steps n) that the task offers it takes the one with the greatest

    score(s, c, n) = log V(s, c, n) - thrift * log E(s, c, n)

among those that keep every limit. V is the progress that a round is expected to make of this
device's update, E what the device spends on it. Rounds until a target are proportional to 1 / V and
joules until it to E / V, so thrift 0 asks for the fewest rounds, thrift 1 for the fewest joules,
and what lies between for the least product of both, weighted: rounds**(1 - thrift) *
joules**thrift. Where joules are not known, E is the time it takes; a constant power cancels.

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

from edge_sdk.adaptation.learned import Learned, learn, mean
from edge_sdk.adaptation.rates import forecast
from edge_sdk.codecs.shrinkage import HARMLESS
from edge_sdk.errors import Misuse
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.values import Choice, Goodput, Outcome, Reading, Task

SPENDABLE = 0.9
"""Share of a deadline that is planned with."""
BETTER = 0.02
UNTIMED_SHARE = 0.7
LEAST_PROBE = 4
ONE_PACKET_BYTES = 1500
"""An upload up to this size is one round trip at any rate, and tells nothing of it."""
MOST_STATE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way to do a task, with what it is expected to take and give."""

    stage: int
    codec: str
    steps: int | None
    """None: as many as the task asks for, how many that is being unknown."""
    up_bytes: int
    down_bytes: int
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
        plans = [
            _planned(state, task, now, stage=stage, codec=codec, thrift=self.thrift)
            for stage in stages_of(task)
            for codec in task.codecs
        ]
        limit_s = SPENDABLE * task.deadline_s
        affordable = [plan for plan in plans if _is_affordable(plan, now)]
        fitting = [plan for plan in affordable if plan.seconds <= limit_s and _does_work(plan)]
        if fitting:
            return self._chosen(_settled(state, fitting, now), state, task, limit_s)
        if not affordable:
            return _sits_out(task, _unaffordable(min(plans, key=lambda plan: plan.up_bytes), now))
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
        self, plan: Plan, state: Learned, task: Task, limit_s: float, *, probe: bool = False
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
            way=task.ways[0],
            stage=plan.stage,
            codec=plan.codec,
            epochs=task.epochs,
            most_steps=None if plan.steps == _wanted(state, task) else max(1, plan.steps or 1),
            train_until_s=until_s,
            why=f"{first}: {plan.codec}, stage {plan.stage}, {work}; "
            f"{plan.seconds:.0f} of {limit_s:.0f} s, {plan.up_bytes / 1000:.0f} kB up{spends}"[
                :180
            ],
        )


def stages_of(task: Task) -> range:
    """The stages a device may train in this round."""
    least = task.stage if task.least_stage is None else min(task.least_stage, task.stage)
    return range(least, task.stage + 1)


def size_of(task: Task, stage: int) -> int | None:
    """Trainable parameters of a stage; None where the task does not tell."""
    return task.stage_sizes[stage] if stage < len(task.stage_sizes) else None


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
    state: Learned, task: Task, now: Reading, *, stage: int, codec: str, thrift: float
) -> Plan:
    up_bytes, down_bytes = _sizes(state, task, stage, codec)
    link = now.goodput or Goodput()
    down_s = _transfer_s(link.down_bytes_per_s, link.down_margin, link.latency_s, down_bytes)
    up_s = _transfer_s(link.up_bytes_per_s, link.up_margin, link.latency_s, up_bytes)
    known = state.of_codec(codec)
    encode_s = (known.encode_s or 0.0) * (size_of(task, stage) or 0) if known else 0.0
    after_s = up_s + encode_s * (1 + state.margin)
    left_s = max(0.0, SPENDABLE * task.deadline_s - down_s - after_s)
    step_s, step_j = _a_step(state, task, stage)
    fixed_j, rest_j = _transfer_j(state, up_bytes, down_bytes), now.joules_left
    wanted = _wanted(state, task)
    steps = wanted
    if wanted is not None and step_s is not None:
        steps = min(wanted, int(left_s / (step_s * (1 + state.margin))))
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
        stage=stage,
        codec=codec,
        steps=steps,
        up_bytes=up_bytes,
        down_bytes=down_bytes,
        seconds=seconds,
        after_training_s=None if link.up_bytes_per_s is None else after_s,
        joules=joules,
        score=math.log(max(value, 1e-12))
        - thrift * math.log(max(joules if joules is not None else seconds, 1e-9)),
    )


def _sizes(state: Learned, task: Task, stage: int, codec: str) -> tuple[int, int]:
    """Bytes up and down. Without sizes the download serves as a float32 copy of the model."""
    down = task.download_bytes or 0
    size = size_of(task, stage)
    whole = size_of(task, task.stage)
    if size and whole:
        down = int(down * size / whole)
    known = state.of_codec(codec)
    bits = known.bits if known and known.bits else forecast(codec).bits
    return int(bits * (down / 4 if size is None else size) / 8), down


def _transfer_s(rate: float | None, margin: float, latency_s: float, size_bytes: int) -> float:
    """With the margin; of an unknown link a transfer takes no time, so that bits decide."""
    return 0.0 if rate is None else latency_s + size_bytes * (1 + margin) / rate


def _a_step(state: Learned, task: Task, stage: int) -> tuple[float | None, float | None]:
    """Seconds and joules of one step; of an unknown stage by its size from a known one."""
    known = state.of_stage(stage, warm_up=task.warm_up)
    if known is not None:
        return mean(known.seconds_a_step), mean(known.joules_a_step)
    size = size_of(task, stage)
    for other in state.stages:
        other_size = size_of(task, other.stage)
        if size and other_size:
            # A larger stage takes at most as much more as it has parameters more, or blocks.
            factor = max(size / other_size, (stage + 1) / (other.stage + 1))
            seconds, joules = mean(other.seconds_a_step), mean(other.joules_a_step)
            return seconds and seconds * factor, joules and joules * factor
    return None, None


def _wanted(state: Learned, task: Task) -> int | None:
    """Steps of the task's epochs over this device's examples."""
    if not state.examples:
        return None
    return task.epochs * -(-state.examples // task.batch_size)


def _transfer_j(state: Learned, up_bytes: int, down_bytes: int) -> float | None:
    up = mean(state.up_joules_a_byte)
    down = mean(state.down_joules_a_byte)
    return None if up is None else up * up_bytes + (down or up) * down_bytes


def _thrifty(steps: int, step_j: float, fixed_j: float, rest_j: float | None, thrift: float) -> int:
    """At most `steps`: as many as thrift finds best, and as the quota pays for."""
    if thrift > 0.5:
        steps = min(steps, max(1, int(fixed_j / (step_j * (2 * thrift - 1)))))
    if rest_j is not None:
        steps = min(steps, max(0, int((rest_j - fixed_j) / step_j)))
    return steps


# ------------------------------------------------------------------ choosing among plans


def _does_work(plan: Plan) -> bool:
    return plan.steps is None or plan.steps > 0


def _is_affordable(plan: Plan, now: Reading) -> bool:
    if now.bytes_left is not None and plan.up_bytes + plan.down_bytes > now.bytes_left:
        return False
    if now.joules_left is None:
        return True
    return now.joules_left > 0 and (plan.joules is None or plan.joules <= now.joules_left)


def _settled(state: Learned, fitting: list[Plan], now: Reading) -> Plan:
    """The best plan, unless it is not better enough than the last one's kind."""
    if now.goodput is None or now.goodput.up_bytes_per_s is None:
        telling = [plan for plan in fitting if plan.up_bytes > ONE_PACKET_BYTES]
        if telling or not any(plan.up_bytes for plan in fitting):
            return min(
                telling or fitting, key=lambda plan: (forecast(plan.codec).bits, -plan.stage)
            )
    best = max(fitting, key=lambda plan: plan.score)
    last = next((p for p in fitting if (p.stage, p.codec) == (state.stage, state.codec)), best)
    return best if best.score > last.score + BETTER else last


def _probes(fruitless: int) -> bool:
    """Whether the next task is the 4th, 8th, 16th … in a row."""
    turn = fruitless + 1
    return turn >= LEAST_PROBE and turn & (turn - 1) == 0


def _sits_out(task: Task, why: str) -> Choice:
    return Choice(takes_part=False, stage=task.stage, codec=task.codecs[0], why=why[:180])


def _unaffordable(plan: Plan, now: Reading) -> str:
    need = plan.up_bytes + plan.down_bytes
    if now.bytes_left is not None and need > now.bytes_left:
        return f"{need:,} bytes are needed and {now.bytes_left:,} are left of the month's quota"
    left = now.joules_left or 0.0
    return f"{plan.joules or 0:.0f} J are needed and {left:.0f} J are left of the day's quota"


def _praise(plan: Plan, state: Learned) -> str:
    if state.codec is None:
        return "first round"
    return "stays" if (plan.stage, plan.codec) == (state.stage, state.codec) else "now best"
