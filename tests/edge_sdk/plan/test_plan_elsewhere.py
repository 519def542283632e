"""A plan made here trains in an interpreter that has next to nothing installed.

The environments are folders with links to the few packages named, and Python runs with `-S`, so
that nothing else that is installed here can be imported.
"""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.authoring import build_plan
from edge_sdk.authoring.architectures import lenet5
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings

RUNTIME = ("numpy", "onnxruntime")
DEVICE = (
    *RUNTIME,
    "pydantic",
    "pydantic_core",
    "annotated_types",
    "typing_extensions",
    "typing_inspection",
    "edge_sdk",
)
"""What `edge_sdk.plan` and `edge_sdk.engines` need: numpy, onnxruntime, pydantic and its four."""

WITHOUT_US = """
import json, sys, zipfile
import numpy as np
import onnxruntime as ort

bundle = zipfile.ZipFile(sys.argv[1])
manifest = json.loads(bundle.read("manifest.json"))
flat = np.frombuffer(bundle.read("weights.f32"), "<f4")
feeds, at = {}, 0
for parameter in manifest["parameters"]:
    size = int(np.prod(parameter["shape"], dtype=int))
    feeds[parameter["name"]] = flat[at : at + size].reshape(parameter["shape"])
    at += size
for state in manifest["stages"][0]["state"]:
    feeds[state["name"]] = np.zeros(state["shape"], np.float32)
random = np.random.Generator(np.random.PCG64(0))
feeds[manifest["input"]["name"]] = random.random((4, *manifest["input"]["shape"]), np.float32)
feeds[manifest["target"]["name"]] = np.arange(4) % manifest["classes"]
feeds["lr"] = np.array(0.1, np.float32)
session = ort.InferenceSession(
    bundle.read("stage0-train.onnx"), providers=["CPUExecutionProvider"]
)
names = [output.name for output in session.get_outputs()]
losses = []
for _ in range(5):
    made = dict(zip(names, session.run(names, feeds)))
    losses.append(float(made.pop("loss")))
    feeds |= {name.removesuffix(".new"): array for name, array in made.items()}
print(json.dumps({"losses": losses, "modules": sorted(sys.modules)}))
"""

WITH_US = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.plan import load_plan
from edge_sdk.values import TrainSettings

plan = load_plan(Path(sys.argv[1]).read_bytes())
random = np.random.Generator(np.random.PCG64(0))
batch = (random.random((4, *plan.input.shape), np.float32), np.arange(4) % plan.classes)
engine = OnnxRuntimeEngine(plan)
trained = engine.train(plan.initial_weights(), [batch], TrainSettings(epochs=5))
measured = engine.evaluate(trained.weights, [batch])
digest = hashlib.sha256(trained.weights.tobytes()).hexdigest()
print(json.dumps({"digest": digest, "loss": measured.loss, "modules": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(lenet5((1, 12, 12), 4), loss="cross-entropy", name="elsewhere")


def run_with_only(packages: tuple[str, ...], code: str, plan: Plan, folder: Path) -> dict[str, Any]:
    for name in packages:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
        libraries = source.parent / f"{name}.libs"
        if libraries.is_dir():
            (folder / libraries.name).symlink_to(libraries)
    file = folder / "made.plan"
    file.write_bytes(plan.data)
    environment = {"PYTHONPATH": str(folder), "ORT_DISABLE_TELEMETRY": "1", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(file)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_numpy_and_onnxruntime_alone_train_it(plan: Plan, tmp_path: Path) -> None:
    told = run_with_only(RUNTIME, WITHOUT_US, plan, tmp_path)
    assert told["losses"][-1] < told["losses"][0]
    assert not {"onnx", "onnx_ir", "pydantic", "aiohttp", "edge_sdk"}.intersection(told["modules"])


def test_the_engine_needs_pydantic_besides_and_gives_the_same_weights(
    plan: Plan, tmp_path: Path
) -> None:
    told = run_with_only(DEVICE, WITH_US, plan, tmp_path)
    random = np.random.Generator(np.random.PCG64(0))
    batch = (random.random((4, *plan.input.shape), np.float32), np.arange(4) % (plan.classes or 1))
    engine = OnnxRuntimeEngine(plan)
    here = engine.train(plan.initial_weights(), [batch], TrainSettings(epochs=5))
    assert told["digest"] == hashlib.sha256(here.weights.tobytes()).hexdigest()
    assert not {"onnx", "onnx_ir", "aiohttp"}.intersection(told["modules"])


def test_plans_are_the_same_bytes_from_every_process(plan: Plan) -> None:
    """Not only twice in one process: hashes of strings differ between two."""
    code = (
        "import hashlib; from edge_sdk.authoring import build_plan;"
        "from edge_sdk.authoring.architectures import lenet5;"
        "made = build_plan(lenet5((1, 12, 12), 4), loss='cross-entropy', name='elsewhere',"
        "                  stages=3, cut='auto');"
        "print(made.digest)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = build_plan(
        lenet5((1, 12, 12), 4), loss="cross-entropy", name="elsewhere", stages=3, cut="auto"
    )
    assert told == {here.digest}
    assert plan.digest != here.digest
