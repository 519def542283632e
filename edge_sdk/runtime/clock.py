"""The real clock."""

import asyncio
import time


class MonotonicClock:
    """An `interfaces.Clock` that passes by itself and never runs backwards.

    Boards without a battery-backed clock wake up in the past and jump when the network tells them
    the time; nothing in the runtime may depend on wall time.
    """

    def now_s(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait; cancelling the task ends it at once."""
        await asyncio.sleep(seconds)
