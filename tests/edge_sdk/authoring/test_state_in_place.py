"""Promise of every train graph: new optimizer state may overwrite the old while the step runs."""

from typing import Any

import onnx
import pytest

from edge_sdk.authoring import build_plan
from edge_sdk.authoring.architectures import resnet

MODEL = resnet((3, 8, 8), 4, blocks=(1,), width=4)
ELEMENT_BY_ELEMENT = {"Add", "Where", "Mul", "Sub", "Identity"}


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.01, "clip_norm": 1.0, "proximal": True, "correction": True},
        {"accumulate": True},
        {"recompute": True},
    ],
    ids=["plain", "terms", "gathered", "recomputed"],
)
def test_state_is_read_only_on_the_way_to_its_new_value(optimizer: str, options: Any) -> None:
    plan = build_plan(MODEL, loss="cross-entropy", optimizer=optimizer, name="n", **options)
    graph = onnx.load_model_from_string(plan.train_graph()).graph
    makers = {name: node for node in graph.node for name in node.output if name}
    for state in plan.optimizer_state():
        last = makers[f"{state.name}.new"]
        on_the_way, queue = {id(last)}, [last]
        while queue:
            for name in queue.pop().input:
                node = makers.get(name)
                if node is not None and id(node) not in on_the_way:
                    on_the_way.add(id(node))
                    queue.append(node)
        readers = [node for node in graph.node if state.name in node.input]
        assert readers
        assert {id(node) for node in readers} <= on_the_way
        assert last.op_type in ELEMENT_BY_ELEMENT
