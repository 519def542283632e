"""The split learning benchmark counts what it says it counts."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fedlite import print_table, read, write
from benchmarks.fedlite_fleet import SplitFleet
from benchmarks.fedlite_run import Run, Scheme, paper_bits
from edge_sdk.authoring import build_plan, zoo
from edge_sdk.datasets import ArrayDataset
from edge_sdk.wire.batch import BATCH_HEADER_BYTES


@pytest.fixture(scope="module")
def fleet() -> SplitFleet:
    plan = build_plan(zoo.mlp((6,), 2, hidden=(16, 4)), loss="cross-entropy", name="s", cut="auto")
    rng = np.random.default_rng(0)

    def shard(size: int) -> ArrayDataset:
        x = rng.normal(size=(size, 6)).astype(np.float32)
        return ArrayDataset(x, (x[:, 0] > 0).astype(np.int64)).fit(plan)

    return SplitFleet(
        name="small",
        plan=plan,
        devices=tuple(shard(20) for _ in range(3)),
        test=shard(100),
        batch_size=10,
        learning_rate=0.1,
        per_round=2,
    )


def test_the_papers_formula_gives_its_headline() -> None:
    assert 64 * 20 * 9216 / paper_bits("product:q=1152,l=2", 20, 9216) == pytest.approx(490.2, 1e-3)


def test_bytes_are_those_of_whole_messages(fleet: SplitFleet) -> None:
    outcome = Run(fleet, Scheme("float32")).finish(2)
    numbers = fleet.plan.split.cuts[0].shape[0] if fleet.plan.split else 0
    messages = 2 * 2 * 2
    assert outcome.steps == messages
    assert outcome.traffic.activations == messages * 10 * 4 * numbers
    assert outcome.traffic.messages_up == messages * (BATCH_HEADER_BYTES + 10 * (4 * numbers + 1))
    assert outcome.compression == 1


def test_exact_split_runs_equal_federated_averaging(fleet: SplitFleet) -> None:
    alone, split = (Run(fleet, Scheme(way)).finish(3) for way in (None, "float32"))
    assert split.curve == alone.curve


def test_outcomes_are_kept(
    fleet: SplitFleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = {"small | x": Run(fleet, Scheme("product:q=4,l=2", 1e-4)).finish(1)}
    write(tmp_path / "o.json", done)
    assert read(tmp_path / "o.json") == done
    print_table("small", 1, done)
    assert "product:q=4,l=2, lambda 0.0001" in capsys.readouterr().out
