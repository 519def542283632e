"""A device has the plan before it has a deadline, if the server can be asked for it."""

from pathlib import Path

import pytest

from edge_sdk import Client
from edge_sdk.datasets import ArrayDataset
from edge_sdk.errors import Unreachable
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Finished, Task, Wait
from tests.server_ref.serving import serving


class Watched(HttpTransport):
    """Notes in which order plan and work are asked for; the plan fails as often as told."""

    calls: list[str]
    failures = 0

    async def plan(self, digest: str) -> bytes:
        """See `HttpTransport`."""
        self.calls.append("plan")
        if self.failures:
            self.failures -= 1
            raise Unreachable("no answer")
        return await super().plan(digest)

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        """See `HttpTransport`."""
        self.calls.append("check-in")
        return await super().check_in(request)


@pytest.mark.parametrize(
    ("failures", "calls"), [(0, ["plan", "check-in"]), (1, ["plan", "check-in", "plan"])]
)
async def test_the_plan_is_fetched_before_work_is_asked_for_and_a_failure_changes_nothing(
    failures: int, calls: list[str], tmp_path: Path
) -> None:
    async with serving(tmp_path / "server", cohort=1) as at:
        transport = Watched(at.url)
        transport.calls, transport.failures = [], failures
        client = Client(
            at.url,
            token=at.opened.join_token,
            data=ArrayDataset([[0.0] * 40], [1]),
            state=tmp_path / "device",
            transport=transport,
        )
        try:
            # The plan's graphs are none, so the task itself ends in a place given back.
            assert await client.participate() is None
        finally:
            await client.close()
        assert transport.calls == calls
