"""What `import edge_sdk` promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge_sdk


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ORT_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_name_at_the_door_is_there() -> None:
    for name in edge_sdk.__all__:
        assert getattr(edge_sdk, name).__module__.startswith("edge_sdk.")
    assert edge_sdk.__all__ == sorted(edge_sdk.__all__)
    assert dir(edge_sdk) == edge_sdk.__all__
    with pytest.raises(AttributeError, match="nonsense"):
        edge_sdk.nonsense  # noqa: B018 - the access is the test


def test_the_import_loads_nothing_heavy() -> None:
    heavy = ["onnxruntime", "aiohttp", "pydantic", "numpy", "onnx"]
    done = python(f"import edge_sdk, sys; print([m for m in {heavy} if m in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_a_client_loads_neither_an_engine_nor_a_server() -> None:
    heavy = ["onnxruntime", "aiohttp.web", "onnx", "server_ref", "edge_sdk.authoring"]
    code = (
        "import sys; from edge_sdk import Client\n"
        "Client('https://fl.example.org', token='x' * 20, data=([[1.0]], [0]))\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = python(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_environment_is_set_before_any_engine_can_be_imported() -> None:
    code = "import edge_sdk, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert python(code).stdout.strip() == "1"
    assert python(code, ORT_DISABLE_TELEMETRY="0").stdout.strip() == "0", "one's own choice holds"


def test_an_engine_imported_too_early_is_said_so() -> None:
    early = "import sys; sys.modules['onnxruntime'] = sys; import edge_sdk"
    assert "may send telemetry" in python(early).stderr
    assert python(early, ORT_DISABLE_TELEMETRY="1").stderr == ""
    assert python("import edge_sdk").stderr == ""
