"""Promises of the device's parts of a split as a stage of their own: whole segments, plan order."""

import numpy as np
import pytest

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.cuts import find_cuts
from edge_sdk.authoring.training import forward_graph
from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from edge_sdk.plan.split import DEVICE_PARTS, SERVER_PART, device_parts

MODEL = zoo.mlp((5,), 3, hidden=(6, 4))
CUTS = [cut.name for cut in find_cuts(forward_graph(MODEL), for_split=True)]


@pytest.fixture(params=[[CUTS[0]], [CUTS[0], CUTS[-1]]], ids=["plain", "targets-stay"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return build_plan(MODEL, loss="cross-entropy", name="n", cut=request.param)


def test_device_and_server_share_the_whole_model_out(plan: Plan) -> None:
    segments, whole = plan.segments(), plan.whole_weights()
    mine, theirs = segments.stage(DEVICE_PARTS), segments.part(SERVER_PART)
    assert mine.size + theirs.size == segments.size == len(whole)
    put = np.zeros_like(whole)
    mine.put(mine.take(whole), put)
    theirs.put(theirs.take(whole), put)
    np.testing.assert_array_equal(put, whole)


def test_it_is_made_of_whole_segments(plan: Plan) -> None:
    segments, whole = plan.segments(), plan.whole_weights()
    held = {s.number: s.where.take(whole) for s in segments.of_stage(DEVICE_PARTS)}
    gathered = segments.gather(held, DEVICE_PARTS)
    np.testing.assert_array_equal(gathered, segments.stage(DEVICE_PARTS).take(whole))
    tensors = plan.layout(DEVICE_PARTS).split(gathered)
    everything = plan.layout().split(plan.initial_weights())
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, everything[name])


def test_its_tensors_are_those_of_the_parts(plan: Plan) -> None:
    split = plan.split
    assert split is not None
    names = {p.name for part in device_parts(split.parts) for p in split.layout(part).parameters}
    assert {p.name for p in plan.layout(DEVICE_PARTS).parameters} == names


def test_a_plan_without_a_split_has_no_such_stage() -> None:
    plan = build_plan(MODEL, loss="cross-entropy", name="n")
    with pytest.raises(Misuse):
        plan.layout(DEVICE_PARTS)
    assert plan.segments().of_stage(DEVICE_PARTS) == ()
