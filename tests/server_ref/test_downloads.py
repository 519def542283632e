"""Promise: plans and models are immutable, cacheable and resumable."""

import hashlib
from pathlib import Path

import pytest

from edge_sdk.protocol import FRAMES_TYPE, MODEL, PLAN, PLAN_TYPE
from tests.server_ref.serving import device, http, serving, small_plan


@pytest.mark.parametrize("what", ["plan", "model"])
async def test_downloads_answer_tags_and_ranges(what: str, tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a, http(at, a.token) as client:
        run = at.opened.coordinator.run
        path = {
            "plan": PLAN.format(digest=small_plan().digest),
            "model": MODEL.format(run=run, version=0),
        }[what]
        async with client.get(path) as response:
            whole, etag = await response.read(), response.headers["ETag"]
            assert response.status == 200
            assert response.content_type == {"plan": PLAN_TYPE, "model": FRAMES_TYPE}[what]
            assert etag == f'"{hashlib.sha256(whole).hexdigest()}"'
        async with client.get(path, headers={"If-None-Match": f'"x", {etag}'}) as response:
            assert (response.status, await response.read()) == (304, b"")
            assert response.headers["ETag"] == etag
        size = len(whole)
        for header, first, end in [
            ("bytes=0-0", 0, 1), ("bytes=10-19", 10, 20), (f"bytes={size - 1}-", size - 1, size),
            ("bytes=-5", size - 5, size), ("bytes=7-999999999", 7, size),
        ]:  # fmt: skip
            async with client.get(path, headers={"Range": header, "If-Range": etag}) as response:
                assert (response.status, await response.read()) == (206, whole[first:end])
                assert response.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}"
        for header in ("bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=-", ""):
            async with client.get(path, headers={"Range": header}) as response:
                assert (response.status, await response.read()) == (200, whole)
        async with client.get(
            path, headers={"Range": "bytes=1-2", "If-Range": '"old"'}
        ) as response:
            assert (response.status, await response.read()) == (200, whole)
        for header in (f"bytes={size}-", "bytes=5-4", "bytes=-0"):
            async with client.get(path, headers={"Range": header}) as response:
                assert response.status == 416
                assert response.headers["Content-Range"] == f"bytes */{size}"
