"""Promise: a device killed in the middle of its upload resumes and sends only missing chunks."""

import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.authoring import build_plan, zoo
from rpi_demo.operator_api import Operator
from tests.journeys.relay import Relay
from tests.journeys.server_process import ServerProcess, start_device

pytestmark = pytest.mark.journey

CHUNK_BYTES = 8192
OVERHEAD_BYTES = 8192
"""HTTP headers and JSON bodies of a few calls."""


def test_it_resumes_and_sends_only_missing_chunks(tmp_path: Path) -> None:
    plan = tmp_path / "wide.plan"
    built = build_plan(zoo.mlp((64,), 10, hidden=(1024,)), loss="cross-entropy", name="wide")
    plan.write_bytes(built.data)
    update_bytes = 4 * built.layout().size
    data = tmp_path / "data.npz"
    random = np.random.Generator(np.random.PCG64(1))
    x = random.standard_normal((64, 64)).astype(np.float32)
    np.savez(data, x_train=x, y_train=np.arange(64) % 10)
    server = ServerProcess(
        plan,
        tmp_path / "server",
        ["--rounds", "1", "--cohort", "1", "--codec", "float32",
         "--chunk-bytes", str(CHUNK_BYTES), "--round-deadline", "600"],
    )  # fmt: skip
    server.start()
    device: list[subprocess.Popen[bytes]] = []

    def kill_device() -> None:
        device[0].kill()

    relay = Relay(("127.0.0.1", server.port), cut_after=update_bytes // 2, on_cut=kill_device)
    try:
        state = tmp_path / "device"
        url = f"http://127.0.0.1:{relay.port}"
        device.append(start_device(url, server.join_token, data, state))
        device[0].wait(60)
        relay.mend()
        operator = Operator(server.url, server.operator_token)
        run = operator.only_run()
        held_bytes = _bytes_up_once_over(operator, run, update_bytes // 4)
        again = start_device(url, server.join_token, data, state)
        assert again.wait(60) == 0, state.with_suffix(".log").read_text()

        finished = operator.run(run)
        assert finished.state == "finished"
        assert finished.rounds[0].committed == 1
        missing_bytes = update_bytes - held_bytes
        assert missing_bytes < relay.bytes_up < missing_bytes + CHUNK_BYTES + OVERHEAD_BYTES
    finally:
        for process in device:
            process.kill()
        relay.close()
        server.kill()


def _bytes_up_once_over(operator: Operator, run: str, limit: int, patience_s: float = 20.0) -> int:
    """What the server read so far; it counts a request when its connection is gone."""
    deadline = time.monotonic() + patience_s
    while (count := operator.run(run).rounds[-1].bytes_up) <= limit:
        assert time.monotonic() < deadline, f"only {count} bytes came up before the cut"
        time.sleep(0.05)
    return count
