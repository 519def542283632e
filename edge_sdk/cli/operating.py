"""What the operator's commands share: finding the server, asking it, showing what it says."""

import argparse
import asyncio
import datetime as dt
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from edge_sdk.errors import Misuse
from edge_sdk.protocol import dump_json
from edge_sdk.transport.operator import OperatorClient

T = TypeVar("T")

SERVER = "EDGE_SDK_SERVER"
OPERATOR_TOKEN = "EDGE_SDK_OPERATOR_TOKEN"  # noqa: S105 - a variable's name
ANNOUNCE = "EDGE_SDK_ANNOUNCE"
STATE = "EDGE_SDK_STATE"

UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Found(NamedTuple):
    """Where the server is and what opens it."""

    url: str
    token: str


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """How every operator's command finds its server."""
    add = parser.add_argument
    add("--server", metavar="URL", help=f"the server's address (or {SERVER})")
    add(
        "--operator-token",
        metavar="TOKEN",
        help=f"better in {OPERATOR_TOKEN}, which keeps it out of process lists",
    )
    add(
        "--announce",
        type=Path,
        metavar="FILE",
        help=f"what `serve --announce` wrote: address and token (or {ANNOUNCE})",
    )
    add(
        "--state",
        type=Path,
        metavar="DIR",
        help=f"the server's state folder, on its own machine (or {STATE}; default: the one "
        "*.state folder here)",
    )
    add("--ca", type=Path, help="certificate authority file for a private server")
    add("--plain-http", action="store_true", help="allow http:// to another machine, unencrypted")
    add("--json", action="store_true", help="print what the server says as JSON")


def find_server(arguments: argparse.Namespace) -> Found:
    """Address and token: flags first, then environment, then files.

    Raises:
        Misuse: one of them is nowhere to be found, or a file is not what it should be.
    """
    url = arguments.server or os.environ.get(SERVER)
    token = arguments.operator_token or os.environ.get(OPERATOR_TOKEN)
    if not (url and token):
        announced = _announced(arguments) or _kept(arguments)
        url = url or (announced and announced.url)
        token = token or (announced and announced.token)
    if not (url and token):
        what = "the server's address" if not url else "the operator's token"
        raise Misuse(
            f"{what} is not known: give --server and --operator-token, --announce FILE, "
            "or --state DIR on the server's own machine"
        )
    return Found(url, token)


def _announced(arguments: argparse.Namespace) -> Found | None:
    path = arguments.announce or _path_in(ANNOUNCE)
    if path is None:
        return None
    try:
        told = json.loads(path.read_bytes())
        return Found(str(told["url"]), str(told["operator_token"]))
    except (ValueError, KeyError, TypeError):
        raise Misuse(f"{path} is not what a server announces") from None


def _kept(arguments: argparse.Namespace) -> Found | None:
    folder = arguments.state or _path_in(STATE)
    if folder is None:
        here = [path.parent for path in Path().glob("*.state/server.url")]
        if len(here) != 1:
            return None
        folder = here[0]
    return Found((folder / "server.url").read_text(), (folder / "operator.token").read_text())


def _path_in(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None


def ask(arguments: argparse.Namespace, job: Callable[[OperatorClient], Awaitable[T]]) -> T:
    """Do `job` with the server that `arguments` lead to."""
    found = find_server(arguments)
    client = OperatorClient(
        found.url, found.token, ca_file=arguments.ca, plain_http=arguments.plain_http
    )

    async def talk() -> T:
        async with client:
            return await job(client)

    return asyncio.run(talk())


def show(arguments: argparse.Namespace, answer: object, lines: Iterable[str]) -> None:
    """Print an answer: as JSON where that is asked for, else the lines."""
    if arguments.json:
        print(dump_json(answer).decode())
        return
    for line in lines:
        print(line)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of columns as wide as what is in them."""
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def sure(arguments: argparse.Namespace, question: str) -> bool:
    """Whether the operator means it: asked on a terminal, taken for granted in a script."""
    if arguments.yes or not sys.stdin.isatty():
        return True
    return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}


def duration_s(text: str) -> float:
    """Seconds from `90`, `45s`, `30m`, `12h`, `7d` or `2w`.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw]?)", text)
    if match is None or not float(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 90, 30m, 12h or 7d")
    return float(match[1]) * UNITS_S[match[2]]


def moment(at: float | None) -> str:
    """Local time of seconds since 1970."""
    if at is None:
        return "-"
    return dt.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit, bytes_each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_each:
            return f"{count / bytes_each:.3g} {unit}"
    return f"{count:.0f} B"
