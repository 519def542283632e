"""`edge-sdk join URL`: take part in a federation with the examples of one file."""

import argparse
import asyncio
import logging
import os
import platform
from pathlib import Path

from edge_sdk.cli.command import Command
from edge_sdk.cli.conditions import (
    add_condition_arguments,
    eligibility_of,
    policy_of,
    quotas_of,
)
from edge_sdk.datasets import load_npz
from edge_sdk.engines.allocation import keep_heap_small
from edge_sdk.runtime.client import Client


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """What every program that is one device takes, besides the server's address."""
    parser.add_argument(
        "--token",
        default=os.environ.get("EDGE_SDK_JOIN_TOKEN"),
        help="join token, needed the first time only (default: EDGE_SDK_JOIN_TOKEN, which keeps it "
        "out of process lists)",
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE.npz", help="examples: x_train, y_train"
    )
    parser.add_argument("--user", type=int, help="take only this user's examples (user_train)")
    parser.add_argument("--name", default=platform.node(), help="what the operator sees")
    parser.add_argument("--state", type=Path, help="folder that survives restarts (default: XDG)")
    parser.add_argument("--ca", type=Path, help="certificate authority file for a private server")
    parser.add_argument("--threads", type=int, default=1, help="threads to train with (default 1)")
    parser.add_argument(
        "--plain-http", action="store_true", help="allow http:// to another machine, unencrypted"
    )
    parser.add_argument(
        "--low-memory", action="store_true", help="trade CPU time for memory (512 MB boards)"
    )
    parser.add_argument(
        "--rotate-token-days",
        type=float,
        metavar="DAYS",
        help="replace this device's token when it is so old (default: never)",
    )
    parser.add_argument("--verbose", action="store_true", help="log every step")
    add_condition_arguments(parser)


def take_part(url: str, arguments: argparse.Namespace) -> int:
    """Be the device that `arguments` describe until the run is finished; the exit status."""
    keep_heap_small()
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    client = Client(
        url,
        token=arguments.token,
        data=load_npz(arguments.data, user=arguments.user),
        name=arguments.name,
        state=arguments.state,
        ca=arguments.ca,
        threads=arguments.threads,
        plain_http=arguments.plain_http,
        low_memory=arguments.low_memory,
        rotate_token_days=arguments.rotate_token_days,
        eligibility=eligibility_of(arguments),
        quotas=quotas_of(arguments),
        policy=policy_of(arguments),
    )
    asyncio.run(client.run())
    return 0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url", help="address of the aggregation server, e.g. https://fl.example.org"
    )
    add_device_arguments(parser)


def _run(arguments: argparse.Namespace) -> int:
    return take_part(arguments.url, arguments)


COMMAND = Command(
    "join", "Take part in a federation with the examples of one file.", _add_arguments, _run
)
