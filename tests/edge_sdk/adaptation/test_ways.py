"""The budget policy trains split where limits forbid training whole, and says why."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.adaptation import BudgetPolicy, Learned, Quotas, Usage
from edge_sdk.testing import check_policy
from edge_sdk.values import Choice, Cost, Goodput, Outcome, Reading, Task, Way
from edge_sdk.values.splitting import SplitOffer

OFFER = SplitOffer(
    parameters=150_000,
    download_bytes=600_000,
    batch_up_bytes=40_000,
    batch_down_bytes=120_000,
    working_bytes=130_000_000,
    full_working_bytes=340_000_000,
)
TASK = Task(
    run="0123456789abcdef",
    round=4,
    plan="ab" * 32,
    model_version=3,
    codecs=("float32", "eden:bits=2"),
    seed=7,
    batch_size=16,
    deadline_s=3600.0,
    cohort=10,
    ways=("full", "split"),
    download_bytes=44_000_000,
    stage_sizes=(11_000_000,),
    split=OFFER,
)
NOW = Reading(
    at_s=5.0,
    resident_bytes=70_000_000,
    goodput=Goodput(up_bytes_per_s=1e6, down_bytes_per_s=1e6),
)
POLICY = BudgetPolicy()


def limited(megabytes: int) -> Reading:
    return dataclasses.replace(NOW, memory_limit_bytes=megabytes * 1_000_000)


def ended(
    way: Way, *, peak_mb: int, joules: float = 40.0, steps: int = 10
) -> tuple[Choice, Outcome]:
    choice = Choice(takes_part=True, way=way, codec="float32", why="test")
    after = dataclasses.replace(NOW, resident_bytes=peak_mb * 1_000_000)
    costs = (
        Cost(phase="download", seconds=1.0, energy_j=1.0),
        Cost(phase="train", seconds=steps * 1.0, energy_j=joules),
        Cost(phase="encode", seconds=0.1, energy_j=0.1),
        Cost(phase="upload", seconds=1.0, energy_j=1.0),
    )
    outcome = Outcome(
        took_part=True,
        delivered=True,
        dimension=150_000,
        examples=160,
        steps=steps,
        upload_bytes=600_000,
        costs=costs,
        after=after,
    )
    return choice, outcome


def learned(*rounds: tuple[Choice, Outcome]) -> Learned:
    state = POLICY.start()
    for choice, outcome in rounds:
        state = POLICY.learn(state, TASK, choice, outcome)
    return state


def test_keeps_the_contract_where_split_is_offered() -> None:
    for ways in (("full", "split"), ("split", "full"), ("split",)):
        task = dataclasses.replace(TASK, ways=ways)
        old = dataclasses.replace(task, split=None)
        staged = dataclasses.replace(task, stage=1, least_stage=0, stage_sizes=(5, 11_000_000))
        check_policy(POLICY, tasks=(task, old, staged, dataclasses.replace(staged, warm_up=True)))


def test_without_limits_the_preferred_way_is_taken() -> None:
    assert POLICY.decide(Learned(), TASK, NOW).way == "full"
    other = dataclasses.replace(TASK, ways=("split", "full"))
    assert POLICY.decide(Learned(), other, NOW).way == "split"


def test_a_memory_limit_below_the_estimate_of_whole_training_takes_split() -> None:
    choice = POLICY.decide(Learned(), TASK, limited(300))
    assert choice.way == "split"
    assert "full needs 442 MB of 300 MB allowed" in choice.why
    assert POLICY.decide(Learned(), TASK, limited(500)).way == "full"


def test_a_limit_that_no_way_keeps_sits_out_always() -> None:
    state = Learned()
    for _ in range(20):
        choice = POLICY.decide(state, TASK, limited(100))
        assert not choice.takes_part
        assert "232 MB of memory are expected, 100 MB allowed" in choice.why
        state = POLICY.learn(state, TASK, choice, Outcome(took_part=False))


def test_a_measured_peak_outweighs_the_estimate() -> None:
    small = learned(ended("full", peak_mb=120))
    assert POLICY.decide(small, TASK, limited(300)).way == "full"
    large = learned(ended("full", peak_mb=600))
    assert POLICY.decide(large, TASK, limited(500)).way == "split"


def test_the_peak_learned_is_the_least_seen_because_the_counter_never_falls() -> None:
    state = learned(ended("split", peak_mb=900), ended("split", peak_mb=250))
    known = state.of_stage(0, warm_up=False, way="split")
    assert known is not None
    assert known.peak_bytes == 250_000_000


def test_little_free_memory_takes_split_but_forbids_nothing() -> None:
    tight = dataclasses.replace(NOW, free_memory_bytes=200_000_000)
    choice = POLICY.decide(Learned(), TASK, tight)
    assert choice.way == "split"
    assert "there" in choice.why
    assert POLICY.decide(Learned(), dataclasses.replace(TASK, ways=("full",)), tight).takes_part


def test_joules_that_pay_for_few_whole_steps_take_split() -> None:
    state = learned(
        ended("full", peak_mb=400, joules=1000.0), ended("split", peak_mb=200, joules=50.0)
    )
    rich = POLICY.decide(state, TASK, dataclasses.replace(NOW, joules_left=1e6))
    poor = POLICY.decide(state, TASK, dataclasses.replace(NOW, joules_left=220.0))
    assert (rich.way, poor.way) == ("full", "split")
    assert "deadline and quotas forbid full" in poor.why


def test_a_quota_of_bytes_pays_for_activations_too() -> None:
    state = learned(ended("split", peak_mb=200))
    tight = dataclasses.replace(NOW, bytes_left=2_000_000)
    choice = POLICY.decide(state, TASK, tight)
    assert choice.way == "split"
    assert choice.most_steps is not None
    assert choice.most_steps * 160_000 + 600_000 <= 2_000_000


def test_a_limit_is_told_by_every_reading_and_needs_no_counting() -> None:
    quotas = Quotas(memory_bytes=300_000_000)
    assert quotas.left(Usage(), NOW).memory_limit_bytes == 300_000_000
    assert not quotas.meters


offers = st.builds(
    SplitOffer,
    parameters=st.integers(0, 10**8),
    download_bytes=st.none() | st.integers(0, 10**9),
    batch_up_bytes=st.integers(0, 10**8),
    batch_down_bytes=st.integers(0, 10**8),
    batch_messages=st.integers(1, 2),
    working_bytes=st.integers(0, 10**9),
    full_working_bytes=st.integers(0, 10**10),
)
looks = st.builds(
    lambda limit, resident, free, left, joules: Reading(
        at_s=1.0,
        memory_limit_bytes=limit,
        resident_bytes=resident,
        free_memory_bytes=free,
        bytes_left=left,
        joules_left=joules,
        goodput=NOW.goodput,
    ),
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(1, 10**9),
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(0, 10**9),
    st.none() | st.floats(0, 1e4),
)


@settings(deadline=None, max_examples=100)
@given(
    script=st.lists(
        st.tuples(st.none() | offers, looks, st.integers(1, 2000), st.floats(0.01, 1e4)), max_size=6
    ),
    ways=st.sampled_from([("full", "split"), ("split", "full"), ("split",), ("full",)]),
)
def test_no_plan_ever_breaks_the_memory_limit_or_the_byte_quota(
    script: list[tuple[SplitOffer | None, Reading, int, float]], ways: tuple[Way, ...]
) -> None:
    state = POLICY.start()
    for offer, now, peak_mb, joules in script:
        task = dataclasses.replace(TASK, split=offer, ways=ways)
        choice = POLICY.decide(state, task, now)
        if not choice.takes_part:
            state = POLICY.learn(state, task, choice, Outcome(took_part=False))
            continue
        assert choice.way in ways
        known = state.of_stage(0, warm_up=False, way=choice.way)
        if known and known.peak_bytes and now.memory_limit_bytes is not None:
            assert known.peak_bytes <= now.memory_limit_bytes
        if choice.way == "split" and offer and now.bytes_left is not None and choice.most_steps:
            each = offer.batch_up_bytes + offer.batch_down_bytes
            assert choice.most_steps * each <= now.bytes_left
        _, outcome = ended(choice.way, peak_mb=peak_mb, joules=joules)
        state = POLICY.learn(state, task, choice, outcome)
        assert POLICY.loaded(POLICY.dumped(state)) == state
