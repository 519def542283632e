"""Blocking work beside the event loop, stopped when its awaiter is cancelled."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from edge_sdk.interfaces import KeepGoing

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


async def run_in_thread(work: Callable[[KeepGoing], Result]) -> Result:
    """Run `work(keep_going)` in a thread and wait for it.

    When the awaiting task is cancelled (Ctrl-C, shutdown), `keep_going` answers False from then
    on, and the cancellation goes on once `work` has come back: no thread is left behind.
    """
    stop = threading.Event()
    thread = asyncio.ensure_future(asyncio.to_thread(work, lambda: not stop.is_set()))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([thread])
        if not thread.cancelled() and (error := thread.exception()) is not None:
            _log.warning("work that was being stopped failed: %r", error)
        raise
