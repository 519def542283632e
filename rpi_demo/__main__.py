"""`python -m rpi_demo --server URL --token T --data FILE.npz`: one device taking part.

The token is needed the first time only; with `--state` in a place that survives, Ctrl-C, a crash or
a power cut and a later start go on where it stopped.
"""

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from edge_sdk import Client, load_npz
from edge_sdk.errors import EdgeError

log = logging.getLogger("rpi_demo")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rpi_demo", description=__doc__)
    parser.add_argument("--server", required=True, metavar="URL")
    parser.add_argument(
        "--token",
        default=os.environ.get("EDGE_SDK_JOIN_TOKEN"),
        help="join token (default: the environment's EDGE_SDK_JOIN_TOKEN)",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--user", type=int, help="take only this user's examples (user_train)")
    parser.add_argument("--state", type=Path, help="folder that survives restarts")
    parser.add_argument("--name", default=os.uname().nodename)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--plain-http", action="store_true", help="allow http:// to another machine, unencrypted"
    )
    parser.add_argument(
        "--low-memory", action="store_true", help="trade CPU time for memory (512 MB boards)"
    )
    return parser.parse_args()


def main() -> int:
    """Take part until the run is finished; the exit status is 0 then."""
    arguments = _arguments()
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s {arguments.name} %(levelname)s %(message)s",
    )
    try:
        client = Client(
            arguments.server,
            token=arguments.token,
            data=load_npz(arguments.data, user=arguments.user),
            state=arguments.state,
            name=arguments.name,
            threads=arguments.threads,
            plain_http=arguments.plain_http,
            low_memory=arguments.low_memory,
        )
        asyncio.run(client.run())
    except EdgeError as error:
        log.error("%s: %s", type(error).__name__, error)  # noqa: TRY400 - one line, no trace
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
