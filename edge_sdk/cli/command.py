"""What a subcommand is, and the one function that runs them."""

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version
from typing import NoReturn

from edge_sdk.errors import EdgeError, Unavailable

GROUP = "edge_sdk.commands"


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand of `edge-sdk`."""

    name: str
    summary: str
    """One line for `edge-sdk --help`."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Gets the parsed arguments, gives the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `edge-sdk ARGUMENTS`; the exit status is 0, 1 (the work failed) or 2 (wrong usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = {entry.name: entry for entry in entry_points(group=GROUP)}
    parser = argparse.ArgumentParser(
        prog="edge-sdk",
        description="Federated learning on small machines.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edge-sdk {version('edge-sdk')}")
    parser.add_argument(
        "command", choices=sorted(known), metavar="COMMAND", nargs="?", help="one of those below"
    )
    name = next((word for word in arguments if not word.startswith("-")), None)
    if name not in known or arguments[0] != name:
        if arguments[:1] in ([], ["-h"], ["--help"]):
            parser.epilog = _listing([known[name] for name in sorted(known)])
        parser.parse_args(arguments[:1])
        parser.print_help()
        return 0 if arguments else 2
    try:
        command = _loaded(known[name])
    except Unavailable as missing:
        print(f"edge-sdk {name}: unavailable: {missing}", file=sys.stderr)
        return 1
    return run_command(command, arguments[1:])


def _loaded(entry: EntryPoint) -> Command:
    """The command, or `Unavailable` naming the package it misses: a device has no server's ones."""
    try:
        command: Command = entry.load()
    except ModuleNotFoundError as missing:
        raise Unavailable(
            f"{missing.name} is not installed; do: pip install 'edge-sdk[server]'"
        ) from missing
    return command


def _listing(entries: Sequence[EntryPoint]) -> str:
    """One line for each command; of one that cannot be loaded here, what it needs."""
    lines = ["commands (each has --help):"]
    for entry in entries:
        try:
            summary = _loaded(entry).summary
        except Unavailable:
            summary = "(needs edge-sdk[server])"
        lines.append(f"  {entry.name:<10}{summary}")
    return "\n".join(lines)


class _Parser(argparse.ArgumentParser):
    """One whose errors are one line: the flags of a long usage would hide it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def run_command(command: Command, arguments: Sequence[str], *, prog: str = "") -> int:
    """Parse `arguments` for one command and run it; errors become one line on stderr."""
    prog = prog or f"edge-sdk {command.name}"
    parser = _Parser(prog=prog, description=command.summary)
    command.add_arguments(parser)
    try:
        return command.run(_parsed(parser, arguments))
    except EdgeError as error:
        print(f"{prog}: {type(error).__name__.lower()}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = "" if error.filename is None else f": {error.filename}"
        print(f"{prog}: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """The parsed arguments; a wrong flag is an error that names the nearest right one."""
    parsed, unknown = parser.parse_known_args(list(arguments))
    if unknown:
        flags = re.findall(r"--[a-z][a-z-]*", parser.format_help())
        wrong = unknown[0].partition("=")[0]
        meant = difflib.get_close_matches(wrong, flags, n=1)
        hint = f"; did you mean {meant[0]}?" if meant else ""
        parser.error(f"unrecognized argument {unknown[0]}{hint}")
    return parsed


def run_and_exit(command: Command) -> NoReturn:
    """`run_command` with the process's own arguments, for `python -m` entry points."""
    sys.exit(run_command(command, sys.argv[1:], prog=f"python -m {command.name}"))
