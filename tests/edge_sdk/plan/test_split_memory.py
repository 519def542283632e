"""What a split says of the memory that its parts take."""

import dataclasses

import pytest
from pydantic import ValidationError

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.cuts import find_cuts
from edge_sdk.authoring.training import forward_graph
from edge_sdk.plan import Plan, load_plan
from edge_sdk.plan.split import COPIES, device_parts

MODEL = zoo.mlp((6,), 3, hidden=(8, 5))
CUTS = [cut.name for cut in find_cuts(forward_graph(MODEL), for_split=True)]


@pytest.fixture(params=[1, 2], ids=["one-cut", "two-cuts"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return build_plan(
        MODEL, loss="cross-entropy", name="s", cut=[CUTS[0], CUTS[-1]][: request.param]
    )


def test_a_plan_tells_what_each_part_writes_and_keeps_it_when_read_again(plan: Plan) -> None:
    split = load_plan(plan.data).split
    assert split is not None
    assert split.spec.kept is not None
    assert len(split.spec.kept) == split.parts
    assert min(split.spec.kept) > 0


def test_memory_is_copies_of_the_parameters_and_what_a_batch_leaves(plan: Plan) -> None:
    split = plan.split
    assert split is not None
    assert split.spec.kept is not None
    parts = range(split.parts)
    size = plan.initial_weights().size
    assert split.working_bytes(parts, batch_size=0) == 4 * COPIES * size
    batch = split.working_bytes(parts, batch_size=10) - split.working_bytes(parts, batch_size=0)
    assert batch == 4 * 10 * sum(split.spec.kept)
    mine = split.working_bytes(device_parts(split.parts), batch_size=10)
    assert 0 < mine < split.working_bytes(parts, batch_size=10)


def test_a_plan_that_tells_nothing_counts_parameters_alone(plan: Plan) -> None:
    split = plan.split
    assert split is not None
    silent = dataclasses.replace(split, spec=dataclasses.replace(split.spec, kept=None))
    parts = range(split.parts)
    assert silent.working_bytes(parts, batch_size=99) == split.working_bytes(parts, batch_size=0)


def test_a_manifest_that_tells_of_another_number_of_parts_is_refused(plan: Plan) -> None:
    assert plan.split is not None
    spec = plan.split.spec
    assert spec.kept is not None
    with pytest.raises(ValidationError, match="each of its parts"):
        dataclasses.replace(
            plan.manifest, split=dataclasses.replace(spec, kept=(1,) * (5 - len(spec.kept)))
        )
