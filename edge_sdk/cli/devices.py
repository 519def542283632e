"""`edge-sdk devices`: who takes part in a running server's federation."""

import argparse
import time
from collections.abc import Iterable

from edge_sdk.cli.command import Command
from edge_sdk.cli.operating import add_server_arguments, ask, show, size, sure, table
from edge_sdk.values.operating import Device

ACTIONS = {
    "revoke": "its token is refused from now on; what it sent stays counted",
    "forget": "revoke, and erase its name, facts and reports",
    "rotate": "a fresh token for it; the old one works until that is first used",
}

HEAD = ("name", "id", "state", "seen", "updates", "bits", "up", "down", "joules", "battery", "why")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_server_arguments(actions.add_parser("list", help="every device"))
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("device", help="its id, or its name where no other has it")
        action.add_argument("--yes", action="store_true", help="do not ask")
        add_server_arguments(action)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.action == "list":
        found = ask(arguments, lambda server: server.devices())
        show(arguments, found, _table(found, time.time()))
    elif arguments.action == "rotate":
        fresh = ask(arguments, lambda server: server.rotate_device(arguments.device))
        show(arguments, fresh, [fresh.token, f"the new token of device {fresh.device}"])
    else:
        return _withdraw(arguments)
    return 0


def _withdraw(arguments: argparse.Namespace) -> int:
    name: str = arguments.device
    forget = arguments.action == "forget"
    if forget and not sure(arguments, f"Forget {name}? It cannot be taken back."):
        return 1
    one = ask(
        arguments,
        lambda server: server.forget_device(name) if forget else server.revoke_device(name),
    )
    show(arguments, one, [f"{one.device} is {one.state}"])
    return 0


def _table(devices: Iterable[Device], now: float) -> list[str]:
    rows = [
        (
            one.name or "-",
            one.device[:12],
            one.state,
            _ago(one.seen_at, now),
            str(one.updates),
            "-" if one.bits is None else f"{one.bits:.2f}",
            size(one.bytes_up),
            size(one.bytes_down),
            "-" if one.energy_j is None else f"{one.energy_j:.3g}",
            _battery(one),
            one.why or "-",
        )
        for one in devices
    ]
    return table(HEAD, rows)


def _battery(one: Device) -> str:
    if one.report is None or one.report.battery is None:
        return "-"
    return f"{one.report.battery:.0%}"


def _ago(at: float | None, now: float) -> str:
    if at is None:
        return "-"
    seconds = max(0.0, now - at)
    for unit, length_s in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f}{unit} ago"
    return f"{seconds:.0f}s ago"


COMMAND = Command("devices", "List, withdraw and forget devices.", _add_arguments, _run)
