import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.pace import Pace, peak_rss_mb
from benchmarks.train_step import forward_model, initial_weights

REPOSITORY = Path(__file__).resolve().parents[2]


def test_pace_runs_what_the_parent_asks_for_and_reports_each_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("2\n3\n"))
    pace = Pace()
    steps = 0
    while pace():
        steps += 1
    assert steps == 5
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(line["wall_s"]) for line in told] == [2, 3]
    assert [len(line["cpu_s"]) for line in told] == [2, 3]


def test_peak_memory_is_not_the_parents() -> None:
    ballast = b"x" * 200_000_000
    program = "from benchmarks.pace import peak_rss_mb; print(peak_rss_mb())"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=REPOSITORY
    )
    assert len(ballast) / 1e6 < peak_rss_mb()
    assert 1 < float(run.stdout) < 100


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_case_has_a_model_that_takes_its_batch(name: str) -> None:
    case = CASES[name]
    x, y = case.draw()
    assert len(x) == len(y) == case.batch
    model = forward_model(name)
    sizes = model.graph.input[0].type.tensor_type.shape.dim[1:]
    assert tuple(size.dim_value for size in sizes) == case.input_shape
    assert initial_weights(model)


def test_figures_of_one_model(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    command = ["-m", "benchmarks.train_step", "--quick", "--models", "mlp", "--json", str(file)]
    subprocess.run([sys.executable, *command], check=True, cwd=REPOSITORY, capture_output=True)
    figures = json.loads(file.read_text())["models"]["mlp"]
    assert {"ms_1_thread", "ms_2_threads", "peak_rss_mb"} <= figures.keys()
    assert all(value > 0 for value in figures.values())
