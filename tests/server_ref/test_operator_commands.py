"""Promise: the operator's commands find the server, do what they say and export a usable model."""

import asyncio
import json
import stat
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from edge_sdk.authoring import build_plan, with_weights, zoo
from edge_sdk.cli.command import main
from edge_sdk.plan import Plan
from edge_sdk.transport.http import HttpTransport
from edge_sdk.transport.operator import OperatorClient
from edge_sdk.values import CheckIn, Commit, Task, Vector
from server_ref.app import Listening
from tests.server_ref.serving import device, frames_for, serving

MODEL = zoo.mlp((6,), 3, hidden=(5,))


def plan() -> Plan:
    return build_plan(MODEL, loss="cross-entropy", name="small")


async def said(*words: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    """What a command prints."""
    assert await asyncio.to_thread(main, list(words)) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err


def outputs(path: Path, batch: Vector) -> Vector:
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {session.get_inputs()[0].name: batch})
    return np.asarray(out, np.float32)


async def weights_of(at: Listening, version: int) -> Vector:
    async with OperatorClient(at.url, at.opened.operator_token) as client:
        (run,) = await client.runs()
        return np.frombuffer(await client.weights(run.run, version), "<f4").astype(np.float32)


async def test_a_run_is_operated_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = tmp_path / "announced.json"
    state = tmp_path / "small.state"
    async with serving(state, cohort=1, rounds=5, announce=announced) as at:
        assert stat.S_IMODE(announced.stat().st_mode) == 0o600
        file = ["--announce", str(announced)]
        made = json.loads(
            await said("token", "create", "--expires", "2h", "--json", *file, capsys=capsys)
        )
        assert made["uses"] == 1
        listed = await said("token", "list", *file, capsys=capsys)
        assert made["id"] in listed
        assert made["token"] not in listed
        assert "revoked" in await said("token", "revoke", made["id"], *file, capsys=capsys)
        async with device(at, 0) as one:
            await one.take_part()
            monkeypatch.chdir(tmp_path)  # where the one state folder is
            (shown,) = json.loads(await said("devices", "list", "--json", capsys=capsys))
            assert shown["updates"] == 1
            assert "updates" in await said("devices", "list", capsys=capsys)
            assert one.token not in await said("devices", "rotate", shown["device"], capsys=capsys)
            assert "paused" in await said("runs", "pause", capsys=capsys)
            assert "running" in await said("runs", "resume", capsys=capsys)
            assert "version 2" in await said("runs", "rollback", "0", "--yes", capsys=capsys)
            monkeypatch.chdir("/")
            monkeypatch.setenv("EDGE_SDK_SERVER", at.url)
            monkeypatch.setenv("EDGE_SDK_OPERATOR_TOKEN", at.opened.operator_token)
            assert "stopped" in await said("runs", "stop", "--yes", capsys=capsys)
            assert "revoked" in await said("devices", "revoke", shown["device"], capsys=capsys)
            assert "forgotten" in await said(
                "devices", "forget", shown["device"], "--yes", capsys=capsys
            )
        monkeypatch.setenv("EDGE_SDK_OPERATOR_TOKEN", "A" * 43)
        assert "unauthorised" in await said("runs", "show", capsys=capsys, code=1)
    monkeypatch.delenv("EDGE_SDK_SERVER")
    monkeypatch.delenv("EDGE_SDK_OPERATOR_TOKEN")
    assert "address is not known" in await said("runs", "show", capsys=capsys, code=1)


async def test_the_exported_model_runs_anywhere_and_computes_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, original = tmp_path / "small.state", tmp_path / "original.onnx"
    original.write_bytes(MODEL)
    batch = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)
    async with serving(state, plan=plan(), cohort=1, rounds=2) as at, device(at, 0) as one:
        for version in (1, 2):
            await take_part(one.transport, plan().layout().size, version)
            while (await at.opened.coordinator.summary()).model_version < version:  # noqa: ASYNC110 - asks as an operator would
                await asyncio.sleep(0.01)
        monkeypatch.chdir(tmp_path)
        for name, options, weights in (
            ("last", [], await weights_of(at, 2)),
            ("older", ["--version", "1"], await weights_of(at, 1)),
            ("mean", ["--averaged"], np.mean([await weights_of(at, v) for v in (1, 2)], axis=0)),
            ("whole", ["--model", str(original)], await weights_of(at, 2)),
        ):
            path = tmp_path / f"{name}.onnx"
            assert path.name in await said(
                "runs", "export", "-o", str(path), *options, capsys=capsys
            )
            expected = tmp_path / "expected.onnx"
            expected.write_bytes(with_weights(MODEL, plan(), weights))
            np.testing.assert_allclose(
                outputs(path, batch), outputs(expected, batch), rtol=1e-4, atol=1e-5
            )
        assert not np.allclose(outputs(original, batch), outputs(tmp_path / "last.onnx", batch))


async def take_part(transport: HttpTransport, dimension: int, seed: int) -> None:
    """One round with an update drawn from `seed`."""
    task = await transport.check_in(CheckIn(wait_s=5))
    assert isinstance(task, Task)
    random = np.random.Generator(np.random.PCG64(seed))
    update = random.normal(0, 0.1, dimension).astype(np.float32)
    frames = frames_for(task, update)
    await transport.upload(task, frames)
    await transport.commit(task, Commit(chunks=len(frames), examples=10, codec=task.codecs[0]))
