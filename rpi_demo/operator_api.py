"""The operator's view of a server, for programs without an event loop."""

import asyncio
import time

from edge_sdk.errors import Unreachable
from edge_sdk.transport.operator import OperatorClient
from edge_sdk.values.summaries import RunSummary


class Operator:
    """Reads run summaries with the operator's token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def only_run(self) -> str:
        """The id of the one run this server has.

        Raises:
            Unreachable: no answer.
        """

        async def ask() -> str:
            async with OperatorClient(self._url, self._token) as client:
                return (await client.runs())[0].run

        return asyncio.run(ask())

    def run(self, run: str, *, patience_s: float = 20.0) -> RunSummary:
        """The run with all its rounds; asks again for `patience_s` while nobody answers.

        Raises:
            Unreachable: no answer in all that time.
        """

        async def ask() -> RunSummary:
            async with OperatorClient(self._url, self._token) as client:
                return await client.run(run)

        deadline = time.monotonic() + patience_s
        while True:
            try:
                return asyncio.run(ask())
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
