"""The budget policy keeps to what is offered and allowed, and plans sensibly within."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.adaptation import BudgetPolicy, Learned, forecast
from edge_sdk.adaptation.budget import SPENDABLE
from edge_sdk.errors import Malformed, Misuse
from edge_sdk.testing import check_policy
from edge_sdk.values import Choice, Cost, Goodput, Outcome, Reading, Task

CODECS = (
    "float32",
    "blockwise:rate=2",
    "blockwise:rate=0.5",
    "blockwise:rate=0.1",
    "topk:share=0.01",
)
TASK = Task(
    run="0123456789abcdef",
    round=1,
    plan="ab" * 32,
    model_version=0,
    codecs=CODECS,
    seed=7,
    epochs=2,
    batch_size=32,
    deadline_s=100.0,
    download_bytes=400_000,
    stage_sizes=(25_000, 50_000, 100_000),
    stage=2,
    least_stage=0,
    cohort=20,
)
EXAMPLES = 640  # 20 steps an epoch


def linked(rate: float, **changes: object) -> Reading:
    goodput = Goodput(up_bytes_per_s=rate, down_bytes_per_s=10 * rate, latency_s=0.1)
    return dataclasses.replace(Reading(at_s=5.0, goodput=goodput), **changes)  # type: ignore[arg-type]  # fields by name


def after(
    state: Learned,
    policy: BudgetPolicy,
    now: Reading,
    *,
    task: Task = TASK,
    step_s: float = 0.2,
    watts: float | None = 2.0,
    delivered: bool = True,
) -> tuple[Choice, Learned]:
    """One round as the model says it goes."""
    choice = policy.decide(state, task, now)
    if not choice.takes_part:
        return choice, policy.learn(state, task, choice, Outcome(took_part=False))
    steps = min(choice.most_steps or 40, 40)
    size = task.stage_sizes[choice.stage]
    up = 100 + int(forecast(choice.codec).bits * size / 8)
    goodput = now.goodput or Goodput()
    up_s = up / (goodput.up_bytes_per_s or 1e5)
    spans = (("download", 1.0), ("train", steps * step_s), ("encode", 0.5), ("upload", up_s))
    costs = tuple(
        Cost(
            phase=phase,  # type: ignore[arg-type]  # one of the words above
            seconds=seconds,
            energy_j=None if watts is None else watts * seconds,
            received_bytes=400_000 if phase == "download" else 0,
            sent_bytes=up if phase == "upload" else 0,
        )
        for phase, seconds in spans
    )
    outcome = Outcome(
        took_part=True,
        delivered=delivered,
        stage=choice.stage,
        dimension=size,
        examples=EXAMPLES,
        steps=steps,
        upload_bytes=up,
        seconds=sum(seconds for _, seconds in spans),
        costs=costs,
        after=now,
    )
    return choice, policy.learn(state, task, choice, outcome)


def knowing(policy: BudgetPolicy, now: Reading, *, rounds: int = 6, step_s: float = 0.2) -> Learned:
    state = policy.start()
    for _ in range(rounds):
        _, state = after(state, policy, now, step_s=step_s)
    return state


def test_keeps_the_contract_of_a_policy() -> None:
    check_policy(BudgetPolicy())
    check_policy(BudgetPolicy(thrift=0.0))
    check_policy(BudgetPolicy(thrift=1.0))


tasks = st.builds(
    lambda codecs, stage, least, sizes, deadline, epochs, cohort, download, warm: (
        dataclasses.replace(
            TASK,
            codecs=tuple(codecs),
            stage=stage,
            least_stage=None if least is None else min(least, stage),
            stage_sizes=tuple(sorted(sizes)),
            deadline_s=deadline,
            epochs=epochs,
            cohort=cohort,
            download_bytes=download,
            warm_up=warm,
        )
    ),
    st.lists(
        st.sampled_from((*CODECS, "never-heard-of", "sign")), min_size=1, max_size=5, unique=True
    ),
    st.integers(0, 4),
    st.none() | st.integers(0, 4),
    st.lists(st.integers(0, 10**7), max_size=5),
    st.floats(0, 1e5),
    st.integers(1, 50),
    st.integers(1, 1000),
    st.none() | st.integers(0, 10**9),
    st.booleans(),
)
readings = st.builds(
    lambda up, down, margin, left, joules: Reading(
        at_s=1.0,
        goodput=None
        if up is None
        else Goodput(
            up_bytes_per_s=up,
            down_bytes_per_s=down,
            up_margin=margin,
            down_margin=margin,
            latency_s=0.1,
        ),
        bytes_left=left,
        joules_left=joules,
    ),
    st.none() | st.floats(1e-3, 1e9),
    st.none() | st.floats(1e-3, 1e9),
    st.floats(0, 20),
    st.none() | st.integers(0, 10**8),
    st.none() | st.floats(0, 1e5),
)
spans = st.floats(0, 1e6)
outcomes = st.builds(
    lambda steps, train, encode, upload, joules, size, delivered: Outcome(
        took_part=True,
        delivered=delivered,
        late=not delivered,
        dimension=size,
        examples=size,
        steps=steps,
        upload_bytes=size,
        seconds=train,
        costs=(
            Cost(phase="train", seconds=train, energy_j=joules),
            Cost(phase="encode", seconds=encode),
            Cost(phase="upload", seconds=upload, radio_j=joules, sent_bytes=size),
        ),
    ),
    st.integers(0, 10**5),
    spans,
    spans,
    spans,
    st.none() | st.floats(0, 1e6),
    st.integers(0, 10**6),
    st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(script=st.lists(st.tuples(tasks, readings, outcomes), max_size=8), thrift=st.floats(0, 1))
def test_whatever_happens_decisions_stay_within_the_offer_and_the_quota(
    script: list[tuple[Task, Reading, Outcome]], thrift: float
) -> None:
    policy = BudgetPolicy(thrift=thrift)
    state = policy.start()
    for task, now, outcome in script:
        choice = policy.decide(state, task, now)
        assert choice.why
        if choice.takes_part:
            least = task.stage if task.least_stage is None else task.least_stage
            assert least <= choice.stage <= task.stage
            assert choice.codec in task.codecs
            assert choice.epochs == task.epochs
            assert task.deadline_s > 0
            assert choice.train_until_s is None or choice.train_until_s <= task.deadline_s
            assert now.joules_left is None or now.joules_left > 0
        ended = (
            dataclasses.replace(outcome, stage=choice.stage)
            if choice.takes_part
            else Outcome(took_part=False)
        )
        state = policy.learn(state, task, choice, ended)
        assert policy.loaded(policy.dumped(state)) == state


def test_knowing_nothing_it_sends_the_fewest_bits_that_tell_the_rate() -> None:
    choice = BudgetPolicy().decide(Learned(), TASK, Reading(at_s=0.0))
    assert choice.takes_part
    assert choice.codec in {"blockwise:rate=0.1", "topk:share=0.01"}
    assert choice.stage == 2
    assert choice.most_steps is None, "all the work that was asked for"


def test_a_fast_device_on_a_fast_link_does_all_the_work_at_the_whole_model() -> None:
    policy = BudgetPolicy()
    now = linked(1e7)
    choice, _ = after(knowing(policy, now), policy, now)
    assert (choice.stage, choice.most_steps) == (2, None)


def test_a_slow_device_takes_fewer_steps_and_ends_in_time() -> None:
    policy = BudgetPolicy()
    now = linked(1e6)
    state = knowing(policy, now, step_s=8.0)
    choice = policy.decide(state, TASK, now)
    assert choice.takes_part
    assert choice.most_steps is not None
    assert choice.most_steps * 8.0 <= SPENDABLE * TASK.deadline_s


def test_a_slower_link_never_gets_more_bits() -> None:
    policy = BudgetPolicy(thrift=0.0)
    sizes: list[float] = []
    for rate in (1e6, 1e5, 2e4, 5e3):
        choice = policy.decide(knowing(policy, linked(rate)), TASK, linked(rate))
        assert choice.takes_part
        sizes.append(float(choice.codec.partition("=")[2] or 32))
    assert sizes == sorted(sizes, reverse=True)


def test_small_cohorts_get_more_bits_than_large_ones() -> None:
    policy = BudgetPolicy()
    now = linked(3e4)
    state = knowing(policy, now)
    few = policy.decide(state, dataclasses.replace(TASK, cohort=1), now)
    many = policy.decide(state, dataclasses.replace(TASK, cohort=500), now)
    rates = [float(choice.codec.partition("=")[2] or 32) for choice in (few, many)]
    assert rates[0] > rates[1]


def test_margins_tighten_as_predictions_prove_right() -> None:
    policy = BudgetPolicy()
    now = linked(1e5)
    first = policy.start()
    assert first.margin == 0.5
    assert knowing(policy, now).margin < 1e-9


def test_a_step_that_took_longer_widens_the_margin_for_five_rounds() -> None:
    policy = BudgetPolicy()
    now = linked(1e5)
    _, state = after(knowing(policy, now), policy, now, step_s=0.4)
    assert state.margin == pytest.approx(1.0)
    for _ in range(5):
        _, state = after(state, policy, now, step_s=0.4)
    assert state.margin < 0.9


def test_near_equal_plans_do_not_flap() -> None:
    policy = BudgetPolicy()
    state = knowing(policy, linked(1e5))
    kinds = set()
    for turn in range(40):
        now = linked(1e5 * (1.03 if turn % 2 else 0.97))
        choice, state = after(state, policy, now)
        kinds.add((choice.stage, choice.codec))
    assert len(kinds) == 1


def test_when_nothing_fits_it_sits_out_and_probes_at_the_4th_8th_and_16th() -> None:
    policy = BudgetPolicy()
    state = knowing(policy, linked(1e5))
    took: list[int] = []
    for turn in range(1, 20):
        choice, state = after(state, policy, linked(1.0), delivered=False)
        assert "s expected" in choice.why or "tries" in choice.why
        if choice.takes_part:
            took.append(turn)
    assert took == [4, 8, 16]


def test_a_quota_of_bytes_lowers_the_rate_and_then_sits_out() -> None:
    policy = BudgetPolicy(thrift=0.0)
    small = dataclasses.replace(TASK, cohort=1, download_bytes=0)
    state = knowing(policy, linked(1e6))
    rich = policy.decide(state, small, linked(1e6))
    poor = policy.decide(state, small, linked(1e6, bytes_left=3_000))
    broke = policy.decide(state, small, linked(1e6, bytes_left=10))
    assert rich.codec != poor.codec
    assert poor.takes_part
    assert not broke.takes_part
    assert "bytes are needed" in broke.why


def test_a_quota_of_joules_buys_fewer_steps() -> None:
    policy = BudgetPolicy()
    now = linked(1e6)
    state = knowing(policy, now)
    choice = policy.decide(state, TASK, dataclasses.replace(now, joules_left=6.0))
    assert choice.takes_part
    assert choice.most_steps is not None
    assert choice.most_steps * 0.4 <= 6.0


def test_what_it_learned_is_json_and_nothing_else_is_read() -> None:
    policy = BudgetPolicy()
    state = knowing(policy, linked(1e5))
    assert policy.loaded(policy.dumped(state)) == state
    for text in ("", "{}x", '{"stages": 3}', '{"fruitless": -1}', "[]"):
        with pytest.raises(Malformed):
            policy.loaded(text)


def test_thrift_has_bounds() -> None:
    with pytest.raises(Misuse):
        BudgetPolicy(thrift=1.5)


def test_steps_too_short_to_count_are_no_fault() -> None:
    policy = BudgetPolicy(thrift=1.0)
    now = linked(1e5, joules_left=1e5)
    _, state = after(policy.start(), policy, now, step_s=1e-310)
    choice = policy.decide(state, TASK, now)
    assert choice.takes_part


@pytest.mark.parametrize("thrift", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("fruitless", range(20))
def test_a_choice_on_a_link_half_known_has_an_end_of_training_or_leaves_it_open(
    thrift: float, fruitless: int
) -> None:
    policy = BudgetPolicy(thrift=thrift)
    known = knowing(policy, linked(1e5))
    for state in (Learned(fruitless=fruitless), dataclasses.replace(known, fruitless=fruitless)):
        for goodput in (
            None,
            Goodput(),
            Goodput(down_bytes_per_s=1.0),
            Goodput(up_bytes_per_s=1.0),
        ):
            choice = policy.decide(state, TASK, Reading(at_s=5.0, goodput=goodput))
            until_s = choice.train_until_s
            assert until_s is None or 0 <= until_s <= SPENDABLE * TASK.deadline_s


def test_where_being_awake_costs_most_the_codec_is_chosen_by_what_it_is_worth() -> None:
    policy = BudgetPolicy(thrift=1.0)
    task = dataclasses.replace(TASK, cohort=4)

    def codec_where(waiting_j: float) -> float:
        goodput = Goodput(up_bytes_per_s=1e3, down_bytes_per_s=1e6, latency_s=0.1)
        now, state = Reading(at_s=5.0, goodput=goodput), policy.start()
        for _ in range(8):
            choice, _ = after(state, policy, now, task=task)
            size = task.stage_sizes[choice.stage]
            up = int(forecast(choice.codec).bits * size / 8)
            spans = (("wait", 1.0, waiting_j), ("download", 2.0, 4.0), ("train", 8.0, 8.0))
            costs = tuple(
                Cost(phase=phase, seconds=seconds, energy_j=joules, energy_method="measured")  # type: ignore[arg-type]  # one of the words above
                for phase, seconds, joules in (*spans, ("upload", up / 1e3, 2 * up / 1e3))
            )
            outcome = Outcome(
                took_part=True,
                delivered=True,
                stage=choice.stage,
                dimension=size,
                examples=EXAMPLES,
                steps=40,
                upload_bytes=up,
                seconds=12.0,
                costs=costs,
            )
            state = policy.learn(state, task, choice, outcome)
        return forecast(policy.decide(state, task, now).codec).bits

    assert codec_where(waiting_j=1000.0) > codec_where(waiting_j=0.0)
