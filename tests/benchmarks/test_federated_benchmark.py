from pathlib import Path

import numpy as np
import pytest

from benchmarks.cohort import Outcome, Scheme, least_bytes, run
from benchmarks.federated import by_setting, read_outcomes, write_outcomes
from benchmarks.federated_plot import draw, family_of
from benchmarks.fedzip import keep_for, paper_factor, real_factor
from benchmarks.fleet import Fleet, digits
from benchmarks.real_updates import RealUpdate, real_updates
from edge_sdk.codecs import Float32
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.fedzip_streams import Encoding
from edge_sdk.wire import HEADER_BYTES


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return digits("mlp", devices=5)


@pytest.fixture(scope="module")
def update(fleet: Fleet) -> RealUpdate:
    return next(real_updates(fleet, (1,)))


def outcome(accuracy: float, bytes_up: int, *, diverged: bool = False) -> Outcome:
    return Outcome(
        accuracy=accuracy,
        bytes_up=bytes_up,
        bits=1.0,
        diverged=diverged,
        curve=((bytes_up, accuracy),),
    )


def test_a_float32_run_learns_and_counts_every_byte(fleet: Fleet) -> None:
    made = run(fleet, Scheme("f", lambda _f, _u: Float32()), per_round=3, rounds=2, seed=0)
    size = fleet.layout.size
    frames = -(-4 * size // 60_000)
    assert made.accuracy > 0.3
    assert 0 <= made.bytes_up - 6 * 4 * size <= 6 * frames * 2 * (HEADER_BYTES + 16)
    assert made.bits == pytest.approx(32, rel=0.01)
    assert not made.diverged


@pytest.mark.parametrize(
    "scheme",
    [
        Scheme("feedback", lambda _f, _u: DeadZone(0.2), feedback=True),
        Scheme("artemis", lambda _f, _u: Blockwise(0.5), artemis=True),
        Scheme("shrunk", lambda _f, _u: Blockwise(0.05), shrink=True),
    ],
    ids=lambda scheme: scheme.name,
)
def test_memories_and_shrinkage_learn_and_repeat(fleet: Fleet, scheme: Scheme) -> None:
    first, second = (run(fleet, scheme, per_round=3, rounds=2, seed=1) for _ in range(2))
    assert first == second
    assert first.accuracy > 0.2


def test_the_cheapest_scheme_is_the_one_that_is_good_enough() -> None:
    outcomes = {
        "float32": [outcome(0.95, 1000)],
        "good": [outcome(0.94, 10), outcome(0.96, 12)],
        "poor": [outcome(0.90, 1)],
    }
    assert least_bytes(outcomes, 0.945) == ("good", 11.0)
    assert least_bytes(outcomes, 0.99) is None


def test_outcomes_are_read_as_written(tmp_path: Path) -> None:
    done = {"digits-cnn | all | eden 1 | 0": outcome(0.5, 7, diverged=True)}
    write_outcomes(tmp_path / "runs.json", done)
    assert read_outcomes(tmp_path / "runs.json") == done
    assert by_setting(done) == {("digits-cnn", "all"): {"eden 1": [*done.values()]}}


def test_schemes_that_differ_in_rate_share_a_line(tmp_path: Path) -> None:
    assert family_of("blockwise 0.033 shrunk") == "blockwise shrunk"
    assert family_of("fedzip z=0.01 +EF") == "fedzip +EF"
    outcomes = {"float32": [outcome(0.9, 100)], "eden 1": [outcome(0.8, 4)]}
    draw({("digits-cnn", "20%"): outcomes}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_papers_count_is_smaller_than_real_bytes(update: RealUpdate) -> None:
    codec = FedZip(0.05, 3, Encoding.DIFFERENCES, update.layout)
    assert paper_factor(codec, update) > real_factor(codec, update) > 1


def test_the_share_found_reaches_the_headline(update: RealUpdate) -> None:
    keep = keep_for(paper_factor, update, Encoding.DIFFERENCES)
    assert keep is not None
    codec = FedZip(keep, 3, Encoding.DIFFERENCES, update.layout)
    assert 1085 <= paper_factor(codec, update) < 1300
    assert np.isfinite(real_factor(codec, update))
