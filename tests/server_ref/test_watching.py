"""Promise: figures, logs and the description of the API say what is so, and no secret."""

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_sdk.errors import Refused
from edge_sdk.protocol import EVENTS, METRICS, OPENAPI, RUNS
from server_ref.api.routes import ROUTES
from server_ref.logs import start_logging
from tests.server_ref.serving import device, http, serving, settings

DOCS = Path(__file__).parents[2] / "docs" / "operating.md"


async def figures(tmp_path: Path) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample by name and labels after one round with one refusal."""
    async with serving(tmp_path, cohort=1, rounds=1) as at:
        async with device(at, 0) as one:
            with pytest.raises(Refused):
                await one.transport.plan("0" * 64)
            await one.take_part()
        async with http(at, at.opened.operator_token) as client, client.get(METRICS) as answer:
            assert answer.content_type == "text/plain"
            text = await answer.text()
        assert at.opened.operator_token not in text
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


async def test_the_figures_count_what_happened_and_are_documented(tmp_path: Path) -> None:
    found = await figures(tmp_path)
    assert found["edge_sdk_devices"][()] == 1
    assert found["edge_sdk_updates_total"]["whole",] == 1
    assert found["edge_sdk_refusals_total"]["not-found",] == 1
    assert found["edge_sdk_bytes_total"]["up",] > 4000
    assert found["edge_sdk_requests_total"]["commit", "200"] == 1
    assert found["edge_sdk_update_seconds_count"][()] == 0
    documented = DOCS.read_text()
    ours = {name for name in found if name.startswith("edge_sdk_")}
    endings = ("_total", "_count", "_sum", "_bucket", "_created")
    for name in ours:
        short = next((name.removesuffix(e) for e in endings if name.endswith(e)), name)
        assert f"`{short}" in documented, short


async def test_requests_have_ids_in_answer_and_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    start_logging(settings(tmp_path, log_format="json", log_level="info"))
    try:
        async with serving(tmp_path) as at, http(at, "A" * 43) as client:
            async with client.get(RUNS, headers={"X-Request-ID": "mine-1"}) as answer:
                assert answer.headers["X-Request-ID"] == "mine-1"
            async with client.get(RUNS, headers={"X-Request-ID": "no spaces"}) as answer:
                assert answer.headers["X-Request-ID"] != "no spaces"
    finally:
        logging.getLogger().handlers, logging.getLogger().level = before
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (mine,) = [line for line in lines if line.get("request_id") == "mine-1"]
    assert "refused" in mine["message"]
    assert {"time", "level", "logger"} <= mine.keys()


async def test_every_route_is_described(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, http(at) as client, client.get(OPENAPI) as answer:
        document = await answer.json()
    for route in ROUTES:
        described = document["paths"][route.path][route.method.lower()]
        assert described["summary"], route.path
        assert bool(described["security"]) == (route.who != "anyone")
    assert "NewToken" in document["components"]["schemas"]


NO_SCHEMA = "post_v1_runs_run_rounds_round_update"
"""Its body is chunk frames, which have tests of their own."""


async def test_the_running_server_keeps_to_its_description(tmp_path: Path) -> None:
    await conform(tmp_path, "--phases", "fuzzing", "--max-examples", "4")


@pytest.mark.slow
async def test_the_running_server_keeps_to_its_description_for_long(tmp_path: Path) -> None:
    await conform(tmp_path, "--phases", "coverage,fuzzing", "--max-examples", "100")


async def conform(tmp_path: Path, *options: str) -> None:
    """Let schemathesis ask every call but the endless stream, as operator and as device."""
    async with serving(tmp_path, cohort=1) as at, device(at, 0) as one:
        url, operator = f"{at.url}{OPENAPI}", at.opened.operator_token
        await check(tmp_path, url, one.token, *options, "--include-path-regex", "check-in|rounds")
        await check(tmp_path, url, operator, *options, "--exclude-path", EVENTS)


async def check(folder: Path, url: str, token: str, *options: str) -> None:
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", url, *options,
        "--generation-deterministic", "--no-color", "--exclude-operation-id", NO_SCHEMA,
        "--header", f"Authorization: Bearer {token}", "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_schema_conformance",
    ]  # fmt: skip
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
