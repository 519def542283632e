"""Promises of stages: they grow, share parameters by name, have heads of their own, and train."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.architectures import (
    char_lstm,
    lenet5,
    resnet,
    resnet8,
    transformer_decoder,
    unet,
)
from edge_sdk.authoring.cuts import block_ends, choose_cuts, find_cuts, find_levels
from edge_sdk.authoring.stages import make_stages
from edge_sdk.authoring.training import forward_graph
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.plan import Plan

Array = NDArray[Any]
Run = Callable[[bytes, dict[str, Array]], list[Array]]

RESNET = resnet((3, 8, 8), 4, blocks=(1, 1, 1), width=4)
UNET = unet((1, 16, 16), width=4)
MLP = zoo.mlp((5,), 3, hidden=(6, 6, 6))


def feeds(plan: Plan, stage: int, *, warm_up: bool = False, batch: int = 3) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    made: dict[str, Array] = {
        plan.input.name: rng.normal(size=(batch, *plan.input.shape)).astype(np.float32),
        plan.target.name: rng.integers(0, 2, (batch, *plan.target.shape)).astype(plan.target.dtype),
        "lr": np.array(0.1, np.float32),
    }
    made |= plan.layout(stage).split(plan.initial_weights(stage))
    state = plan.optimizer_state(stage, warm_up=warm_up)
    return made | {p.name: np.zeros(p.shape, np.float32) for p in state}


def names(graph: bytes) -> list[str]:
    return [output.name for output in onnx.load_model_from_string(graph).graph.output]


def plan_of(model: bytes | onnx.ModelProto, stages: Any, loss: str = "cross-entropy") -> Plan:
    return build_plan(model, loss=loss, name="n", stages=stages)


# ------------------------------------------------------------------ where models are cut


def test_residual_networks_are_cut_between_their_stacks() -> None:
    plan = plan_of(resnet8((3, 32, 32), 10), "auto")
    sizes = [plan.layout(stage).size for stage in range(plan.stages)]
    assert plan.stages == 3
    assert sizes == sorted(sizes)
    assert sizes[0] < 0.1 * sizes[2]
    assert sizes[1] < 0.3 * sizes[2]


def test_resnet18_is_cut_where_progfed_cuts_it() -> None:
    """Its stages have 1.35, 6.06 and 24.9% of the parameters; a quarter of the width has about."""
    graph = forward_graph(resnet((3, 32, 32), 10, blocks=(2, 2, 2, 2), width=16))
    stages = make_stages(graph, 4)
    sizes = [sum(a.size for a in s.graph.parameters.values()) for s in stages]
    fractions = [size / sizes[-1] for size in sizes]
    np.testing.assert_allclose(fractions, [0.0135, 0.0606, 0.2486, 1], rtol=0.1)


def test_u_nets_lose_their_inner_levels_and_need_no_heads() -> None:
    plan = plan_of(UNET, 4, "mse")
    whole = {p.name for p in plan.layout(3).parameters}
    assert plan.stages == 4
    for stage in range(4):
        held = {p.name for p in plan.layout(stage).parameters}
        assert held <= whole
        assert any(name.startswith("head") for name in held)
        assert {f"down.{level}.conv1.weight" in held for level in range(stage + 1)} == {True}
        assert f"down.{stage + 1}.conv1.weight" not in held


def test_levels_are_found_in_u_nets_only() -> None:
    assert len(find_levels(forward_graph(UNET))) == 3
    assert find_levels(forward_graph(MLP)) == ()


def test_models_too_small_for_stages_stay_whole() -> None:
    assert plan_of(zoo.mlp((784,), 10, hidden=(8,)), "auto").stages == 1


def test_cuts_balance_what_is_computed() -> None:
    graph = forward_graph(RESNET)
    cuts = block_ends(graph, find_cuts(graph))
    assert choose_cuts(cuts, 1) == ()
    shares = [cut.compute for cut in choose_cuts(cuts, 3)]
    blocks = np.diff([0, *shares, 1])
    assert max(blocks) < 0.5


def test_stages_by_hand_are_those_named() -> None:
    cuts = find_cuts(forward_graph(MLP))
    wanted = [cuts[-1].name, cuts[0].name]
    plan = plan_of(MLP, wanted)
    assert [stage.name for stage in plan.manifest.stages] == [cuts[0].name, cuts[-1].name, "all"]


@pytest.mark.parametrize(
    ("stages", "text"),
    [
        (["nowhere"], "it can at"),
        (0, "a number from 1"),
        ("some", "a number from 1"),
        ([], "0 cuts"),
        (["a", "a"], "each once"),
    ],
)
def test_wrong_stages_are_misuse(stages: Any, text: str) -> None:
    with pytest.raises(Misuse, match=text):
        plan_of(MLP, stages)


def test_more_stages_than_blocks_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="places"):
        plan_of(MLP, 9)


# ------------------------------------------------------------------ what a stage is


@pytest.mark.parametrize("model", [MLP, RESNET, lenet5((1, 16, 16), 4)], ids=["mlp", "res", "le"])
def test_stages_share_parameters_and_have_heads_of_their_own(model: Any) -> None:
    plan = plan_of(model, 3)
    whole = plan.layout(plan.stages - 1)
    assert whole == plan_of(model, 1).layout()
    for stage in range(plan.stages - 1):
        held = {p.name for p in plan.layout(stage).parameters}
        own = held - {p.name for p in whole.parameters}
        assert own == {f"stage{stage}.head.weight", f"stage{stage}.head.bias"}
        assert held - own < {p.name for p in plan.layout(stage + 1).parameters}


def test_the_last_stage_is_the_plan_without_stages() -> None:
    staged, plain = plan_of(RESNET, 3), plan_of(RESNET, 1)
    assert staged.train_graph(2) == plain.train_graph()
    assert staged.evaluate_graph(2) == plain.evaluate_graph()
    np.testing.assert_array_equal(staged.initial_weights(2), plain.initial_weights())


@pytest.mark.parametrize(
    ("model", "loss"), [(MLP, "cross-entropy"), (RESNET, "cross-entropy"), (UNET, "mse")]
)
def test_every_stage_trains_and_lowers_its_loss(model: Any, loss: str, run: Run) -> None:
    plan = plan_of(model, 3, loss)
    for stage in range(plan.stages):
        fed = feeds(plan, stage)
        losses = []
        for _ in range(8):
            made = dict(
                zip(names(plan.train_graph(stage)), run(plan.train_graph(stage), fed), strict=True)
            )
            losses.append(float(made.pop("loss")))
            fed |= {name.removesuffix(".new"): array for name, array in made.items()}
        assert losses[-1] < losses[0]


def test_a_warm_up_is_the_step_of_the_new_block_alone(run: Run) -> None:
    plan = plan_of(MLP, 3)
    assert [plan.has_warm_up(stage) for stage in range(3)] == [False, True, True]
    for stage in (1, 2):
        new = plan.trained(stage, warm_up=True).parameters
        old = {p.name for p in plan.layout(stage - 1).parameters}
        assert {p.name for p in new} == {p.name for p in plan.layout(stage).parameters} - old
        full, brief = (plan.train_graph(stage, warm_up=warm) for warm in (False, True))
        stepped = dict(zip(names(full), run(full, feeds(plan, stage)), strict=True))
        warmed = dict(zip(names(brief), run(brief, feeds(plan, stage, warm_up=True)), strict=True))
        assert list(warmed) == [
            "loss",
            *(f"{p.name}.new" for p in new),
            *(f"{p.name}.new" for p in plan.optimizer_state(stage, warm_up=True)),
        ]
        for name, array in warmed.items():
            np.testing.assert_allclose(array, stepped[name], rtol=1e-5, atol=1e-7)
        assert len(brief) < len(full)


def test_without_warm_up_a_plan_stays_version_1() -> None:
    brief = build_plan(MLP, loss="cross-entropy", name="n", stages=3, warm_up=False)
    assert brief.manifest.version == 1
    assert plan_of(MLP, 3).manifest.version == 2
    with pytest.raises(Misuse, match="no warm-up"):
        brief.train_graph(1, warm_up=True)


def test_stages_are_deterministic() -> None:
    assert plan_of(RESNET, "auto").data == plan_of(RESNET, "auto").data


@pytest.mark.parametrize(
    "model",
    [transformer_decoder((6,), 5, width=8, heads=2), char_lstm((6,), 5, hidden=8, layers=2)],
    ids=["decoder", "lstm"],
)
def test_sequences_get_a_head_at_every_place(model: onnx.ModelProto, run: Run) -> None:
    graph = forward_graph(model)
    early = make_stages(graph, 2)[0].graph
    assert early.types[early.outputs[0]] == graph.types[graph.outputs[0]]
    plan = plan_of(model, 2)
    assert plan.layout(0).size < 0.9 * plan.layout(1).size
    fed = feeds(plan, 0) | {plan.input.name: np.zeros((3, *plan.input.shape), np.int64)}
    assert np.isfinite(run(plan.train_graph(0), fed)[0])
