"""A month of a phone is replayed in a second: the policy is pure."""

from collections import Counter

from edge_sdk.adaptation import BudgetPolicy, Eligibility, Learned, Quotas, Usage, used
from edge_sdk.values import Cost, Goodput, Outcome, Reading, Task

HOUR_S = 3600.0
START_S = 1_793_491_200.0  # 2026-11-01 00:00
RATES = {"blockwise:rate=2": 2.0, "blockwise:rate=0.5": 0.5, "blockwise:rate=0.1": 0.1}
SIZE = 200_000
TASK = Task(
    run="0123456789abcdef",
    round=1,
    plan="ab" * 32,
    model_version=0,
    codecs=tuple(RATES),
    seed=7,
    batch_size=32,
    deadline_s=600.0,
    download_bytes=50_000,
    stage_sizes=(SIZE,),
    cohort=4,
)
CONDITIONS = Eligibility(battery_floor=0.3, hours=(20, 8), unmetered=True)
QUOTAS = Quotas(bytes_per_month=10_000_000, joules_per_day=400.0)


def replay() -> tuple[Counter[str], Usage, list[float]]:
    """Thirty days, a task each hour. Charged at night, away from its Wi-Fi by day."""
    policy, state, usage = BudgetPolicy(), Learned(), Usage()
    what: Counter[str] = Counter()
    sent = received = 0
    energy_j = 0.0
    days: list[float] = [0.0] * 30
    for hour in range(30 * 24):
        of_day = hour % 24
        at_home = of_day >= 19 or of_day < 8
        slow = hour // 24 % 7 == 5
        now = Reading(
            at_s=hour * HOUR_S,
            local_s=START_S + hour * HOUR_S,
            battery=1.0 - 0.04 * min(of_day, 20),
            charging=of_day < 6,
            metered=not at_home,
            energy_j=energy_j,
            sent_bytes=sent,
            received_bytes=received,
            goodput=Goodput(
                up_bytes_per_s=2e3 if slow else 5e4, down_bytes_per_s=1e5, latency_s=0.2
            ),
        )
        now = QUOTAS.left(usage, now)
        if CONDITIONS.objection(now) is not None:
            what["rests"] += 1
            continue
        choice = policy.decide(state, TASK, now)
        if not choice.takes_part:
            what["declines"] += 1
            state = policy.learn(state, TASK, choice, Outcome(took_part=False))
            continue
        what[choice.codec] += 1
        steps = choice.most_steps or 20
        size = int(RATES[choice.codec] * SIZE / 8)
        upload_s = size / (2e3 if slow else 5e4)
        before = now
        sent, received = sent + size, received + 50_000
        spent = 2.0 * steps + 3.0 * upload_s
        energy_j += spent
        days[hour // 24] += spent
        after = Reading(
            at_s=now.at_s + 100.0,
            local_s=(now.local_s or 0.0) + 100.0,
            energy_j=energy_j,
            sent_bytes=sent,
            received_bytes=received,
        )
        usage = used(usage, before, after)
        outcome = Outcome(
            took_part=True,
            delivered=True,
            dimension=SIZE,
            examples=640,
            steps=steps,
            upload_bytes=size,
            seconds=100.0,
            costs=(
                Cost(phase="train", seconds=1.0 * steps, energy_j=2.0 * steps),
                Cost(phase="encode", seconds=1.0),
                Cost(phase="upload", seconds=upload_s, energy_j=3.0 * upload_s, sent_bytes=size),
            ),
            after=after,
        )
        state = policy.learn(state, TASK, choice, outcome)
    return what, usage, days


def test_a_month_keeps_every_limit_and_still_does_work() -> None:
    what, usage, days = replay()
    assert usage.bytes_in_month <= 10_000_000
    assert max(days) <= 400.0
    assert what["rests"] >= 30 * 12, "by day it rests"
    assert sum(what[codec] for codec in RATES) >= 30, "and nearly every night it works"
    assert what["declines"] > 0, "what is not affordable any more is declined"


def test_the_same_month_gives_the_same_decisions() -> None:
    assert replay() == replay()
