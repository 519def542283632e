"""Promise: the pieces by hand, with Ctrl-C and a restart of either side, end in a finished run."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rpi_demo.operator_api import Operator
from tests.journeys.server_process import ServerProcess

pytestmark = pytest.mark.journey

DIGITS = Path(__file__).parents[2] / "rpi_demo" / "digits.npz"


def _edge_sdk(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "edge_sdk", *(str(word) for word in words)]


def test_plan_serve_join_and_ctrl_c(tmp_path: Path) -> None:
    model, plan = tmp_path / "digits.onnx", tmp_path / "digits.plan"
    zoo = _edge_sdk("plan", "zoo", "mlp", "--input", "64", "--classes", "10", "-o", model)
    subprocess.run(zoo, check=True, capture_output=True)
    build = _edge_sdk("plan", "build", model, "--loss", "cross-entropy", "-o", plan)
    subprocess.run(build, check=True, capture_output=True)
    shown = subprocess.run(_edge_sdk("plan", "show", plan), check=True, capture_output=True)
    assert b"parameters" in shown.stdout

    with np.load(DIGITS) as file:
        test = tmp_path / "test.npz"
        np.savez(test, x_test=file["x_test"], y_test=file["y_test"])
    server = ServerProcess(
        plan, tmp_path / "server", ["--rounds", "4", "--cohort", "1", "--evaluate", str(test)]
    )
    server.start()
    joins: list[subprocess.Popen[bytes]] = []
    try:
        operator = Operator(server.url, server.operator_token)
        run = operator.only_run()
        words = ("join", server.url, "--data", DIGITS, "--state", tmp_path / "device")
        joins.append(_start(_edge_sdk(*words, "--token", server.join_token), tmp_path))
        _wait(lambda: operator.run(run).model_version >= 1)
        server.interrupt()
        server.start()
        _wait(lambda: operator.run(run).model_version >= 2)
        joins[0].send_signal(signal.SIGINT)
        joins[0].wait(30)
        joins.append(_start(_edge_sdk(*words), tmp_path))
        _wait(lambda: operator.run(run).state == "finished")
        assert joins[1].wait(30) == 0, (tmp_path / "join.log").read_text()
        published = [r for r in operator.run(run).rounds if r.state == "published"]
        assert len(published) == 4
        assert published[-1].accuracy is not None
    finally:
        for join in joins:
            join.kill()
        server.kill()


def _start(command: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "join.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _wait(condition: Callable[[], bool], patience_s: float = 60.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
