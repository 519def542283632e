"""Promise: stages are made of whole segments, and every coordinate is where it belongs."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan, StageParts, TensorSpec, WarmUpParts, load_plan, pack_plan
from edge_sdk.plan.segments import Spans
from edge_sdk.values import Parameter


def plan_of(
    sizes: list[int],
    stages: list[set[int]],
    *,
    warm_ups: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
) -> Plan:
    parameters = tuple(Parameter(f"p{i}", (size,)) for i, size in enumerate(sizes))
    bundle = pack_plan(
        name="some",
        loss="mse",
        optimizer="sgd",
        classes=None,
        input_spec=TensorSpec(name="input", dtype="float32", shape=(1,)),
        target_spec=TensorSpec(name="target", dtype="float32", shape=(1,)),
        parameters=parameters,
        weights=np.arange(sum(sizes), dtype=np.float32),
        stages=[
            StageParts(
                name=str(n),
                parameters=tuple(sorted(which)),
                state=(),
                train=b"x",
                evaluate=b"x",
                warm_up=WarmUpParts(parameters=warm_ups[n], state=(), train=b"x")
                if n in warm_ups
                else None,
            )
            for n, which in enumerate(stages)
        ],
    )
    return load_plan(bundle)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    sizes = draw(st.lists(st.integers(0, 5), min_size=1, max_size=8))
    which = st.sets(st.integers(0, len(sizes) - 1))
    return plan_of(sizes, draw(st.lists(which, min_size=1, max_size=4)))


@settings(max_examples=60, deadline=None)
@given(plans())
def test_segments_make_up_every_stage_and_share_nothing(plan: Plan) -> None:
    segments, whole = plan.segments(), plan.whole_weights()
    assert segments.size == len(whole)
    seen = np.zeros(segments.size)
    for number, segment in enumerate(segments.all):
        assert segment.number == number
        assert segment.size == segment.where.size > 0
        segment.where.add(np.ones(segment.size), seen)
    assert (seen <= 1).all()
    vectors = {segment.number: segment.where.take(whole) for segment in segments.all}
    for stage in range(plan.stages):
        assert np.array_equal(segments.stage(stage).take(whole), plan.initial_weights(stage))
        assert np.array_equal(segments.gather(vectors, stage), plan.initial_weights(stage))
        for segment in segments.of_stage(stage):
            within = segments.within(segment, stage)
            own = within.take(plan.initial_weights(stage))
            assert np.array_equal(own, vectors[segment.number])


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(0, 3))
def test_what_is_put_through_spans_is_what_is_taken(plan: Plan, stage: int) -> None:
    spans = plan.segments().stage(stage % plan.stages)
    values = np.arange(1, spans.size + 1, dtype=np.float32)
    whole = np.zeros(plan.segments().size, np.float32)
    spans.put(values, whole)
    assert np.array_equal(spans.take(whole), values)
    assert np.count_nonzero(whole) == spans.size
    spans.add(values, whole)
    assert np.array_equal(spans.take(whole), 2 * values)


def test_a_plan_of_one_stage_has_one_segment_that_is_the_whole() -> None:
    (segment,) = plan_of([3, 4], [{0, 1}]).segments().all
    assert segment.where == Spans(((0, 7),))


def test_two_stages_share_a_segment_and_have_heads_of_their_own() -> None:
    segments = plan_of([3, 4, 5, 6], [{0, 1}, {0, 2, 3}]).segments()
    found = [(set(segment.stages), segment.where.runs) for segment in segments.all]
    assert found == [({0, 1}, ((0, 3),)), ({0}, ((3, 4),)), ({1}, ((7, 11),))]


def test_what_a_warm_up_trains_is_found_in_the_stage_and_in_the_whole() -> None:
    plan = plan_of([2, 3, 4, 5], [{0, 1}, {0, 2, 3}], warm_ups={1: (2, 3)})
    segments, whole = plan.segments(), plan.whole_weights()
    mine = segments.stage(1).take(whole)
    new = segments.trained(1, warm_up=True)
    assert np.array_equal(new.take(whole), whole[5:])
    assert np.array_equal(segments.trained_within(1, warm_up=True).take(mine), whole[5:])
    assert segments.trained(1) == segments.stage(1)
    assert segments.trained_within(1).take(mine).tobytes() == mine.tobytes()
    assert segments.segments_trained(1) == tuple(s.number for s in segments.of_stage(1))
    (number,) = segments.segments_trained(1, warm_up=True)
    assert segments.all[number].where == new
    with pytest.raises(Misuse):
        segments.trained(0, warm_up=True)
