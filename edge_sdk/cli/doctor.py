"""`edge-sdk doctor [URL]`: what this machine can measure, train and reach, and what to repair."""

import argparse
import asyncio
import dataclasses
import importlib.util
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from edge_sdk.cli.command import Command
from edge_sdk.errors import Malformed, Misuse, Reason, Refused, Unreachable
from edge_sdk.runtime.state import default_folder
from edge_sdk.telemetry import MachineReader, energy_between, probe_energy, radio_energy
from edge_sdk.telemetry.device import EARLIEST_NOW_S
from edge_sdk.telemetry.energy import EnergyReader, SampledEnergy
from edge_sdk.telemetry.system import Run, SystemFiles, device_model, run_command
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn

Area = Literal["measure", "train", "reach"]
State = Literal["ok", "absent", "failed"]
"""`absent`: this machine cannot tell or was not asked, and works without. `failed`: repair this."""

ENGINE_TIMEOUT_S = 120.0
"""A Zero 2 W with a slow card takes half a minute to load the engine."""

MIN_FREE_MEMORY_BYTES = 100_000_000
MIN_FREE_DISK_BYTES = 100_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the examination."""

    area: Area
    name: str
    state: State
    found: str
    """What is so, or what is missing."""
    fix: str = ""
    """What to do about it; empty where nothing need or can be done."""


def examine(
    *,
    root: Path = Path("/"),
    url: str | None = None,
    ca: Path | None = None,
    plain_http: bool = False,
    seconds: float = 2.0,
) -> tuple[Check, ...]:
    """Look at everything. With an address, the server is asked too; nothing is ever sent but that.

    Args:
        root: where the system's files are; for a recorded tree no commands are run.
        url: the aggregation server's address.
        ca: certificate authority file of a private server.
        plain_http: allow an unencrypted connection to another machine.
        seconds: how long to watch the energy source.
    """
    return (
        *_measure_energy(root, seconds),
        *_measure_machine(root),
        *_train(root, url),
        _reach(url, ca, plain_http=plain_http),
    )


# ------------------------------------------------------------------ measure


def _measure_energy(root: Path, seconds: float) -> Iterator[Check]:
    findings = probe_energy(root, run=_commands_of(root))
    best = next((found.reader for found in findings if found.reader is not None), None)
    if best is None:
        yield Check(
            area="measure",
            name="energy",
            state="absent",
            found="nothing here tells joules; costs will carry none",
            fix="any one of the sources below",
        )
    else:
        yield _watch(best, seconds)
    for finding in findings:
        if finding.reader is None:
            what, _, fix = finding.why.partition("; ")
            yield Check(
                area="measure",
                name=f"energy by {finding.source}",
                state="absent",
                found=what,
                fix=fix,
            )
        elif finding.reader is not best:
            about = finding.reader.about
            yield Check(
                area="measure",
                name=f"energy by {finding.source}",
                state="ok",
                found=f"{about.detail} ({about.method}); a better source is in use",
            )


def _commands_of(root: Path) -> Run:
    """This machine's commands; none for a recorded tree, which another machine left."""
    return run_command if root == Path("/") else lambda _: None


def _watch(reader: EnergyReader, seconds: float) -> Check:
    about = reader.about
    try:
        before = reader.read()
        time.sleep(seconds)
        spent = energy_between(before, reader.read())
    finally:
        reader.close()
    text = f"{about.detail}; {about.method}, of the {about.scope}, +-{about.uncertainty:.0%}"
    if spent is None:
        return Check(
            area="measure",
            name="energy",
            state="absent",
            found=f"{text}; silent now",
            fix="a battery tells only while it discharges" if about.source == "battery" else "",
        )
    if spent.seconds > 0:
        text += f"; {spent.joules / spent.seconds:.2f} W just now"
    if isinstance(reader, SampledEnergy) and spent.seconds > 0:
        text += f"; sampling takes {spent.sampling_cpu_s / spent.seconds:.2%} of a core"
    return Check(area="measure", name="energy", state="ok", found=text)


def _measure_machine(root: Path) -> Iterator[Check]:
    state = MachineReader(root, run=_commands_of(root)).read()
    memory = state.free_memory_bytes
    throttled = state.throttled
    power_fix = "use a stronger supply and a shorter cable"
    yield _told("battery", None if state.battery is None else f"{state.battery:.0%}")
    yield _told("outside power", _yes_no(state.charging))
    yield _told("temperature", _or_none(state.temperature_c, "{:.1f} degrees C, processor"))
    yield _told(
        "throttling",
        None if throttled is None else ", ".join(throttled) or "none",
        fix=power_fix if throttled and "under-voltage" in throttled else "",
    )
    yield _told("free memory", None if memory is None else f"{memory / 1e6:,.0f} MB")
    yield _told("load", _or_none(state.load, "{:.2f} for each core"))
    yield _told("link", state.link)
    yield _told(
        "metered",
        _yes_no(state.metered),
        fix="" if state.metered is not None else "only NetworkManager tells; set it in the policy",
    )
    has_tcp_info = hasattr(socket, "TCP_INFO")
    yield _told("round trips", "by the kernel (TCP_INFO)" if has_tcp_info else None)
    radio = radio_energy(state.link, sent_bytes=10**6, received_bytes=0, seconds=8.0)
    yield _told(
        "radio energy",
        None
        if radio is None
        else f"a model: {radio.low_j:.1f} to {radio.high_j:.1f} J to send 1 MB at 1 Mbit/s",
    )


def _told(name: str, found: str | None, *, fix: str = "") -> Check:
    """A check that is `ok` where the machine tells, and says so honestly where it does not."""
    return Check(
        area="measure",
        name=name,
        state="absent" if found is None else "ok",
        found="cannot be told here" if found is None else found,
        fix=fix,
    )


def _or_none(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


# ------------------------------------------------------------------ train


def _train(root: Path, url: str | None) -> Iterator[Check]:
    files = SystemFiles(root)
    bits = 64 if sys.maxsize > 2**32 else 32
    yield Check(
        area="train",
        name="machine",
        state="ok" if bits == 64 else "failed",
        found=f"{device_model(files) or 'unnamed'}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {bits} bit",
        fix="" if bits == 64 else "install a 64-bit system: no engine is built for 32 bit",
    )
    yield _engine()
    silent = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    yield Check(
        area="train",
        name="engine's own telemetry",
        state="ok" if silent else "failed",
        found="switched off" if silent else "left on by ORT_DISABLE_TELEMETRY in the environment",
        fix="" if silent else "set ORT_DISABLE_TELEMETRY=1",
    )
    memory = MachineReader(root).read().free_memory_bytes
    enough = memory is None or memory >= MIN_FREE_MEMORY_BYTES
    yield Check(
        area="train",
        name="memory to train in",
        state="ok" if enough else "failed",
        found="cannot be told here" if memory is None else f"{memory / 1e6:,.0f} MB free",
        fix="" if enough else "stop other programs, or join with --low-memory",
    )
    yield _state_folder(default_folder(url or "https://unknown", ""))
    has_onnx = importlib.util.find_spec("onnx") is not None
    yield Check(
        area="train",
        name="authoring of plans",
        state="ok" if has_onnx else "absent",
        found="installed" if has_onnx else "not installed; devices do without",
        fix="" if has_onnx else "pip install 'edge-sdk[authoring]'",
    )


def _engine() -> Check:
    """Load the engine in a process of its own: on some boards that kills the process."""
    try:
        release = version("onnxruntime")
    except PackageNotFoundError:
        return _engine_failed("onnxruntime is not installed", "pip install onnxruntime")
    words = [sys.executable, "-c", "import edge_sdk.engines.onnxruntime"]
    start_s = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter and a fixed text
            words, capture_output=True, text=True, timeout=ENGINE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return _engine_failed(f"onnxruntime {release} did not load in {ENGINE_TIMEOUT_S:.0f} s", "")
    if done.returncode < 0:
        return _engine_failed(
            f"loading onnxruntime {release} kills the process (signal {-done.returncode})",
            "try another release, e.g. pip install 'onnxruntime<1.26' or the newest",
        )
    if done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return _engine_failed(f"onnxruntime {release} does not load: {last[:200]}", "")
    seconds = time.monotonic() - start_s
    return Check(
        area="train",
        name="engine",
        state="ok",
        found=f"onnxruntime {release}, loads in {seconds:.1f} s",
    )


def _engine_failed(found: str, fix: str) -> Check:
    return Check(area="train", name="engine", state="failed", found=found, fix=fix)


def _state_folder(folder: Path) -> Check:
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    free_bytes = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        found, fix = f"{existing} may not be written", "join with --state FOLDER"
    elif free_bytes < MIN_FREE_DISK_BYTES:
        found, fix = f"{free_bytes / 1e6:,.0f} MB free at {existing}", "make room on the disk"
    else:
        found, fix = f"{free_bytes / 1e9:,.1f} GB free at {existing}", ""
    return Check(
        area="train",
        name="room for state",
        state="failed" if fix else "ok",
        found=found,
        fix=fix,
    )


# ------------------------------------------------------------------ reach


def _reach(url: str | None, ca: Path | None, *, plain_http: bool) -> Check:
    if time.time() < EARLIEST_NOW_S:
        return _unreached("the clock is not set, so certificates will not be believed", _CLOCK_FIX)
    if url is None:
        return Check(
            area="reach",
            name="server",
            state="absent",
            found="not tried",
            fix="give its address: edge-sdk doctor https://...",
        )
    try:
        transport = HttpTransport(url, ca_file=ca, plain_http=plain_http)
    except Misuse as error:
        return _unreached(str(error), "edge-sdk doctor --help")
    return asyncio.run(_ask(url, transport))


_CLOCK_FIX = "sudo timedatectl set-ntp true, and wait a minute"


async def _ask(url: str, transport: HttpTransport) -> Check:
    """Check in without a token: a server of ours refuses that, and in refusing shows itself."""
    start_s = time.monotonic()
    try:
        await transport.check_in(CheckIn())
    except Refused as refusal:
        seconds = time.monotonic() - start_s
        if refusal.reason in (Reason.UNAUTHORISED, Reason.BUSY):
            found = (
                f"{url} answers and speaks the protocol ({seconds * 1000:.0f} ms, with greeting)"
            )
            return Check(area="reach", name="server", state="ok", found=found)
        return _unreached(f"{url} refused: {refusal}", "ask the server's operator")
    except Malformed as error:
        return _unreached(f"{url} answers, but not as an edge-sdk server: {error}", "")
    except Unreachable as error:
        return _unreached(f"{url} does not answer: {error}", "check address, name and firewall")
    finally:
        await transport.close()
    return _unreached(f"{url} gave work to a device without a token", "ask the server's operator")


def _unreached(found: str, fix: str) -> Check:
    return Check(area="reach", name="server", state="failed", found=found, fix=fix)


# ------------------------------------------------------------------ the command

_MARKS: dict[State, str] = {"ok": "ok ", "absent": " - ", "failed": "NO "}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", help="address of the aggregation server, to try it too")
    parser.add_argument("--url", dest="url_flag", metavar="URL", help="the same, as a flag")
    parser.add_argument("--ca", type=Path, help="certificate authority file for a private server")
    parser.add_argument(
        "--plain-http", action="store_true", help="allow http:// to another machine, unencrypted"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document, for programs")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="how long to watch the energy source"
    )
    parser.add_argument(
        "--root", type=Path, default=Path("/"), help="look at a recorded tree of /proc and /sys"
    )


def _run(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.seconds <= 3600:
        raise Misuse("--seconds must be above 0 and at most 3600")
    checks = examine(
        root=arguments.root,
        url=arguments.url or arguments.url_flag,
        ca=arguments.ca,
        plain_http=arguments.plain_http,
        seconds=arguments.seconds,
    )
    failed = any(check.state == "failed" for check in checks)
    if arguments.json:
        document = {"ok": not failed, "checks": [dataclasses.asdict(check) for check in checks]}
        print(json.dumps(document, indent=2))
    else:
        _print(checks)
    return 1 if failed else 0


def _print(checks: tuple[Check, ...]) -> None:
    area = ""
    for check in checks:
        if check.area != area:
            area = check.area
            print(f"{area}")
        print(f"  {_MARKS[check.state]} {check.name:24} {check.found}")
        if check.fix:
            print(f"      {'':24} -> {check.fix}")


COMMAND = Command(
    "doctor",
    "Tell what this machine can measure, train and reach, and what to repair.",
    _add_arguments,
    _run,
)
