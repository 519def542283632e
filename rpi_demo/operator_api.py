"""The operator's view of a server: the two calls the demonstration needs."""

import time
import urllib.error
import urllib.request

from pydantic import TypeAdapter

from edge_sdk.errors import Unreachable
from edge_sdk.protocol import RUN, RUNS, load_json
from edge_sdk.values import RunSummary

ANSWER_LIMIT_BYTES = 16 * 1024 * 1024
RUN_LIST = TypeAdapter(tuple[RunSummary, ...])


class Operator:
    """Reads run summaries with the operator's token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token

    def only_run(self) -> str:
        """The id of the one run this server has.

        Raises:
            Unreachable: no answer.
        """
        return load_json(RUN_LIST, self._get(RUNS), limit=ANSWER_LIMIT_BYTES)[0].run

    def run(self, run: str, *, patience_s: float = 20.0) -> RunSummary:
        """The run with all its rounds; asks again for `patience_s` while nobody answers."""
        deadline = time.monotonic() + patience_s
        while True:
            try:
                body = self._get(RUN.format(run=run))
                return load_json(RunSummary, body, limit=ANSWER_LIMIT_BYTES)
            except Unreachable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def _get(self, path: str) -> bytes:
        request = urllib.request.Request(  # noqa: S310 - the URL is the server's own announcement
            self._url + path, headers={"Authorization": f"Bearer {self._token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                body: bytes = answer.read(ANSWER_LIMIT_BYTES + 1)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise Unreachable(f"{self._url}{path}: {error}") from None
        return body
