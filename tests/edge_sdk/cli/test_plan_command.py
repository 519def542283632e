"""Promises of `edge-sdk plan`: builds what was asked, tells what it costs, refuses in one line."""

from pathlib import Path

import onnx
import pytest

from edge_sdk.authoring import propose_cuts, zoo
from edge_sdk.authoring.architectures import lenet5, unet
from edge_sdk.cli.command import run_command
from edge_sdk.cli.plan import COMMAND
from edge_sdk.cli.plan_cuts import cuts_table
from edge_sdk.cli.plan_measure import Measured, measure, measure_split
from edge_sdk.cli.plan_table import aligned, describe
from edge_sdk.plan import load_plan


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(lenet5((1, 12, 12), 4).SerializeToString())
    return path


def plan(*words: str | Path) -> int:
    return run_command(COMMAND, [str(word) for word in words])


def test_build_writes_a_plan_and_says_what_it_costs(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--stages", "3", "--cut", "auto", "--optimizer", "adam", "--clip-norm", "1"]
    status = plan("build", model, "--loss", "cross-entropy", *options, "--no-measure")
    told = capsys.readouterr().out
    made = load_plan(model.with_suffix(".plan").read_bytes())
    assert status == 0
    assert (made.name, made.stages, made.manifest.optimizer[:4]) == ("model", 3, "adam")
    assert made.split is not None
    assert f"{made.layout(2).size:,}" in told
    assert "0.1 bit" in told
    assert f"split at {made.split.cuts[0].name}" in told
    assert "ms/step" not in told
    assert not list(model.parent.glob("*.partial"))


def test_stages_are_named_by_hand(model: Path) -> None:
    first, second = (place.name for place in propose_cuts(model)[:2])
    plan("build", model, "--loss", "cross-entropy", "--stages", f"{first},{second}", "--no-measure")
    made = load_plan(model.with_suffix(".plan").read_bytes())
    assert [stage.name for stage in made.manifest.stages] == [first, second, "all"]


def test_a_step_is_measured_in_a_process_of_its_own(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan("build", model, "--loss", "cross-entropy", "--batch-size", "2")
    told = capsys.readouterr().out.splitlines()
    head = next(at for at, line in enumerate(told) if "ms/step" in line)
    ms, peak = told[head + 1].split()[-2:]
    assert float(ms) > 0
    assert 20 < float(peak) < 1000


def test_what_cannot_be_measured_is_a_note(model: Path) -> None:
    model.with_suffix(".plan").write_bytes(b"not a plan")
    found = measure(model.with_suffix(".plan"), stage=0)
    assert isinstance(found, str)
    plan("build", model, "--loss", "mse", "--no-measure")
    made = load_plan(model.with_suffix(".plan").read_bytes())
    lines = describe(made, lambda stage, warm_up: "no memory")  # noqa: ARG005 - by position
    assert lines[-1] == "stage 0 was not measured: no memory"
    assert any(
        line.split()[-2:] == ["3", "-"]
        for line in describe(
            made,
            lambda stage, warm_up: Measured(3.0, None),  # noqa: ARG005 - by position
        )
    )


def test_show_describes_it_again(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan("build", model, "--loss", "cross-entropy", "--stages", "2", "--no-measure")
    built = capsys.readouterr().out
    assert plan("show", model.with_suffix(".plan"), "--no-measure") == 0
    assert capsys.readouterr().out == built[: built.index("written:")]


def test_check_verifies_the_users_own_model(
    model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    small = tmp_path / "small.onnx"
    small.write_bytes(zoo.mlp((4,), 3, hidden=(5,)))
    assert plan("build", small, "--loss", "cross-entropy", "--check", "--no-measure") == 0
    assert "all gradients are right" in capsys.readouterr().out
    assert model.exists()


def test_cuts_lists_where_a_model_can_be_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "unet.onnx"
    onnx.save_model(unet((1, 16, 16), width=4), path)
    assert plan("cuts", path, "--no-measure") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].split()[0] == "tensor"
    assert sum("level" in line for line in told) == 3
    assert sum("split" in line for line in told) == 1


def test_cuts_tells_what_the_devices_part_of_each_takes(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Measured | str] = {"a": Measured(1.25, 80.0), "b": "a skip passes it"}
    places = propose_cuts(model)[:2]
    table = cuts_table(places, lambda name: found["a" if name == places[0].name else "b"])
    assert "device ms/step" in table[0]
    assert table[1].split()[5:7] == ["1.25", "80"]
    assert table[2].split()[5:7] == ["-", "-"]
    assert plan("cuts", model) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == len(propose_cuts(model))
    assert all(float(row.split()[5]) > 0 for row in rows)


@pytest.mark.parametrize("cuts", [1, 2])
def test_the_devices_parts_are_measured(model: Path, cuts: int) -> None:
    names = [place.name for place in propose_cuts(model)]
    words = [word for name in (names[0], names[-1])[:cuts] for word in ("--cut", name)]
    assert plan("build", model, "--loss", "cross-entropy", *words, "--no-measure") == 0
    found = measure_split(model.with_suffix(".plan"), batch_size=4, seconds=0.01)
    assert isinstance(found, Measured)
    assert found.ms > 0
    read = load_plan(model.with_suffix(".plan").read_bytes())
    assert "1.5 ms/step, peak 70 MB" in describe(read, None, lambda: Measured(1.5, 70.0))[-1]


def test_a_plan_without_a_split_is_not_measured_split(model: Path) -> None:
    plan("build", model, "--loss", "cross-entropy", "--no-measure")
    found = measure_split(model.with_suffix(".plan"))
    assert isinstance(found, str)
    assert "has no split" in found


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--loss", "nothing"], "no loss 'nothing'"),
        (["--loss", "mse", "--freeze", "."], "matches every weight"),
        (["--loss", "mse", "--stages", "nowhere"], "cannot be cut at 'nowhere'"),
        (["--loss", "mse", "--stages", "12"], "not into 12 stages"),
        (["--loss", "mse", "--cut", "nowhere"], "cannot be cut at"),
        (["--loss", "mse", "--optimizer", "best"], "no optimizer 'best'"),
    ],
)
def test_wrong_options_are_one_line_and_write_nothing(
    model: Path, words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan("build", model, *words, "--no-measure") == 1
    told = capsys.readouterr().err
    assert text in told
    assert told.count("\n") == 1
    assert list(model.parent.iterdir()) == [model]


def test_columns_stand_under_each_other() -> None:
    assert aligned([["name", "size"], ["a", "1,000"], ["long name", "5"]]) == [
        "name        size",
        "a          1,000",
        "long name      5",
    ]
