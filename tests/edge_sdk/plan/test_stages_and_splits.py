"""Promises of plans with warm-ups and a split: they come back as packed, and must fit together."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Malformed, Misuse
from edge_sdk.plan import (
    PartGraphs,
    SplitParts,
    StageParts,
    TensorSpec,
    WarmUpParts,
    archive,
    load_plan,
    pack_plan,
)
from edge_sdk.values import Parameter

PARAMETERS = (Parameter("w", (3, 2)), Parameter("v", (2,)), Parameter("head", (2,)))
EARLY = StageParts(name="cut", parameters=(0, 2), state=(), train=b"t0", evaluate=b"e0")
WARM = WarmUpParts(parameters=(1,), state=(Parameter("v.momentum", (2,)),), train=b"w1")
WHOLE = StageParts(
    name="all", parameters=(0, 1), state=(), train=b"t1", evaluate=b"e1", warm_up=WARM
)
CUT = TensorSpec(name="cut", dtype="float32", shape=(2,))
SPLIT = SplitParts(
    cuts=(CUT,),
    parts=(
        PartGraphs(parameters=(0,), state=(Parameter("w.m", (3, 2)),), graphs=(b"f0", b"b0")),
        PartGraphs(parameters=(1,), state=(), graphs=(b"s1",)),
    ),
)


def packed(**changes: object) -> bytes:
    parts: dict[str, object] = {
        "name": "tiny",
        "loss": "cross-entropy",
        "optimizer": "sgd",
        "classes": 2,
        "input_spec": TensorSpec(name="x", dtype="float32", shape=(3,)),
        "target_spec": TensorSpec(name="target", dtype="int64", shape=()),
        "parameters": PARAMETERS,
        "weights": np.arange(10, dtype=np.float32),
        "stages": (EARLY, WHOLE),
        "split": SPLIT,
    }
    return pack_plan(**(parts | changes))  # type: ignore[arg-type]  # parts by name


GOOD = packed()


def test_stages_warm_ups_and_parts_come_back() -> None:
    plan = load_plan(GOOD)
    assert list(plan.members) == [
        *("stage0-train.onnx", "stage0-evaluate.onnx"),
        *("stage1-train.onnx", "stage1-evaluate.onnx", "stage1-warm-up.onnx"),
        *("part0-forward.onnx", "part0-backward.onnx", "part1-step.onnx", "weights.f32"),
    ]
    assert [plan.has_warm_up(stage) for stage in (0, 1)] == [False, True]
    assert plan.train_graph(1, warm_up=True) == b"w1"
    assert plan.trained(1, warm_up=True).parameters == PARAMETERS[1:2]
    assert plan.trained(1) == plan.layout(1)
    assert plan.optimizer_state(1, warm_up=True) == WARM.state
    split = plan.split
    assert split is not None
    assert (split.parts, split.cuts) == (2, (CUT,))
    assert (split.forward_graph(0), split.backward_graph(0)) == (b"f0", b"b0")
    assert split.step_graph() == b"s1"
    assert split.layout(1).parameters == PARAMETERS[1:2]
    assert split.optimizer_state(0) == SPLIT.parts[0].state


def test_what_version_1_knew_is_still_written_as_version_1() -> None:
    old = packed(stages=(EARLY, dataclasses.replace(WHOLE, warm_up=None)), split=None)
    manifest = json.loads(bytes(archive.unpack(old)["manifest.json"]))
    assert manifest["version"] == 1
    assert "split" not in manifest
    assert "warm_up" not in manifest["stages"][0]
    assert json.loads(bytes(archive.unpack(GOOD)["manifest.json"]))["version"] == 2


@pytest.mark.parametrize("version", [1, 3])
def test_a_version_that_does_not_go_with_the_content_is_refused(version: int) -> None:
    members = {name: bytes(body) for name, body in archive.unpack(GOOD).items()}
    manifest = json.loads(members["manifest.json"])
    manifest["version"] = version
    body = json.dumps(manifest, indent=1).encode() + b"\n"
    with pytest.raises(Malformed, match="version"):
        load_plan(archive.pack(members | {"manifest.json": body}))


@pytest.mark.parametrize(
    "changes",
    [
        {"stages": (EARLY, dataclasses.replace(WHOLE, parameters=(0,)))},
        {"split": dataclasses.replace(SPLIT, cuts=(CUT, CUT))},
        {"split": dataclasses.replace(SPLIT, cuts=())},
        {"split": dataclasses.replace(SPLIT, cuts=(dataclasses.replace(CUT, name="x"),))},
        {"split": dataclasses.replace(SPLIT, cuts=(dataclasses.replace(CUT, name="w"),))},
        {"split": dataclasses.replace(SPLIT, parts=(SPLIT.parts[0], SPLIT.parts[0]))},
        {"split": dataclasses.replace(SPLIT, parts=SPLIT.parts[:1])},
    ],
)
def test_parts_that_do_not_fit_are_misuse(changes: dict[str, object]) -> None:
    with pytest.raises(Misuse):
        packed(**changes)


@given(at=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(at: int, bit: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= 1 << bit
    with pytest.raises(Malformed):
        load_plan(bytes(data))
