"""onnxruntime 1.29 and later reports to its makers by default; through edge_sdk it must not.

Without the SDK's setting, 1.31 leaves five files in an empty home at once and makes its first
look-up 7 to 9 seconds after import: hence the wait.
"""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN_SOMETHING = """
import edge_sdk.engines.select
import onnxruntime, time, sys
from onnx import parser
model = parser.parse_model('''<ir_version: 9, opset_import: ["" : 20]>
g (float[n] x) => (float[n] y) { y = Neg(x) }''').SerializeToString()
import numpy
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
for _ in range(50):
    session.run(None, {"x": numpy.zeros(3, numpy.float32)})
time.sleep(12)
print("trained", onnxruntime.__version__)
"""


def environment(home: Path) -> dict[str, str]:
    """An empty home, and nothing from outside that would hide the default."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "XDG_"))}
    return {
        **kept,
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def tracer() -> list[str] | None:
    """strace that logs network calls, where it is installed and allowed to trace."""
    path = shutil.which("strace")
    if path is None:
        return None
    allowed = subprocess.run([path, "-o", os.devnull, "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        return None
    return [path, "-f", "-qq", "-e", "trace=socket,connect,sendto,sendmsg,sendmmsg", "-o"]


@dataclasses.dataclass(frozen=True)
class Traces:
    files: list[Path]
    """What appeared under the home folder."""
    network_calls: list[str] | None
    """None: nothing here can trace system calls."""


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    folder = tmp_path_factory.mktemp("silence")
    home, log = folder / "home", folder / "calls"
    home.mkdir()
    strace = tracer()
    done = subprocess.run(
        [*([] if strace is None else [*strace, str(log)]), sys.executable, "-c", TRAIN_SOMETHING],
        env=environment(home),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "trained" in done.stdout
    calls = None if strace is None else log.read_text().splitlines()
    return Traces(list(home.rglob("*")), calls)


def test_no_file_appears_under_an_empty_home(traces: Traces) -> None:
    assert traces.files == []


def test_no_look_up_and_no_connection_is_made(traces: Traces) -> None:
    if traces.network_calls is None:
        pytest.skip("strace is missing or not allowed here")
    # A look-up begins with the name service's own socket, a connection with an Internet one.
    assert [c for c in traces.network_calls if "AF_INET" in c or "nscd" in c] == []
