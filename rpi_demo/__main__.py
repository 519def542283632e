"""`python -m rpi_demo --server URL --token T --data FILE.npz`: one device taking part.

The token is needed the first time only; with `--state` in a place that survives, Ctrl-C, a crash or
a power cut and a later start go on where it stopped. The same as `edge-sdk join URL …`, as the
program that a Raspberry Pi starts.
"""

import argparse

from edge_sdk.cli.command import Command, run_and_exit
from edge_sdk.cli.join import add_device_arguments, take_part


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", required=True, metavar="URL")
    add_device_arguments(parser)


def _run(arguments: argparse.Namespace) -> int:
    return take_part(arguments.server, arguments)


if __name__ == "__main__":
    run_and_exit(Command("rpi_demo", "One device of a federation.", _add_arguments, _run))
