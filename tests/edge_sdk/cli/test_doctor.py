import argparse
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from edge_sdk.cli import doctor
from edge_sdk.cli.command import run_command
from edge_sdk.cli.doctor import COMMAND, Check, examine
from tests.edge_sdk.telemetry import boards


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


class AnsweringServer:
    """Answers every POST with one status and body, on a port of its own."""

    def __init__(self) -> None:
        self.status = 401
        self.body = b'{"reason": "unauthorised", "detail": "who are you?"}'
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(owner.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(owner.body)))
                self.end_headers()
                self.wfile.write(owner.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server() -> Iterator[AnsweringServer]:
    answering = AnsweringServer()
    yield answering
    answering.close()


@pytest.fixture(autouse=True)
def _no_engine_process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Loading the engine takes a second of processor time; one test does it for all."""
    if "engine" not in request.node.name:
        ready = Check(area="train", name="engine", state="ok", found="not looked at")
        monkeypatch.setattr(doctor, "_engine", lambda: ready)


def test_the_engine_is_really_loaded() -> None:
    engine = by_name(examine(seconds=0.01))["engine"]
    assert (engine.area, engine.state) == ("train", "ok")
    assert engine.found.startswith("onnxruntime 1.")


def test_a_bare_board_is_told_what_it_lacks_and_how_to_get_it(tmp_path: Path) -> None:
    checks = by_name(examine(root=tmp_path, seconds=0.01))
    assert checks["energy"].state == "absent"
    assert "dtoverlay" in checks["energy by hwmon"].fix
    assert checks["temperature"].found == "cannot be told here"
    assert checks["server"].fix.startswith("give its address")


def test_a_board_with_a_meter_shows_watts_method_margin_and_its_own_cost(tmp_path: Path) -> None:
    checks = by_name(examine(root=boards.ina2xx(boards.pi(tmp_path)), seconds=1.2))
    energy = checks["energy"]
    assert energy.state == "ok"
    for piece in ("ina219", "integrated", "+-3%", "3.42 W just now", "of a core"):
        assert piece in energy.found
    assert checks["energy by estimate"].state == "ok"
    assert checks["throttling"].found == "under-voltage, throttled"
    assert "supply" in checks["throttling"].fix
    assert not [thread for thread in threading.enumerate() if thread.name == "energy-sampler"]


def test_a_charging_battery_is_silent_and_says_why(tmp_path: Path) -> None:
    boards.battery(tmp_path, status="Charging", energy_now=5, energy_full=10)
    checks = by_name(examine(root=tmp_path, seconds=0.01))
    assert "silent now" in checks["energy"].found
    assert "discharges" in checks["energy"].fix
    assert checks["outside power"].found == "yes"
    assert checks["battery"].found == "50%"


def test_a_server_that_refuses_a_stranger_is_reached(server: AnsweringServer) -> None:
    reached = by_name(examine(url=server.url, seconds=0.01))["server"]
    assert reached.state == "ok"
    assert "speaks the protocol" in reached.found


def test_something_else_at_the_address_is_not_a_server(server: AnsweringServer) -> None:
    server.status, server.body = 200, b"<html>welcome</html>"
    reached = by_name(examine(url=server.url, seconds=0.01))["server"]
    assert reached.state == "failed"
    assert "not as an edge-sdk server" in reached.found


def test_a_silent_address_fails_the_examination_with_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], server: AnsweringServer
) -> None:
    url = server.url
    server.http.server_close()
    words = [url, "--root", str(tmp_path), "--seconds", "0.01"]
    assert run_command(COMMAND, words) == 1
    text = capsys.readouterr().out
    assert "NO  server" in text
    assert "-> check address, name and firewall" in text


def test_programs_get_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json", "--root", str(boards.pi(tmp_path)), "--seconds", "0.01"]
    assert run_command(COMMAND, words) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert {check["area"] for check in document["checks"]} == {"measure", "train", "reach"}
    assert set(document["checks"][0]) == {"area", "name", "state", "found", "fix"}


def test_a_senseless_time_to_watch_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(COMMAND, ["--seconds", "-1"]) == 1
    assert "--seconds" in capsys.readouterr().err
    parser = argparse.ArgumentParser()
    COMMAND.add_arguments(parser)
    assert parser.parse_args([]).url is None


def test_an_address_that_may_not_be_used_is_one_failed_check_among_the_others() -> None:
    checks = by_name(examine(url="http://fl.example.org", seconds=0.01))
    assert checks["server"].state == "failed"
    assert checks["machine"].state == "ok"
