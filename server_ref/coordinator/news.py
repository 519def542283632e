"""What happens, told to whoever listens: the operator's page, and counts for a monitor."""

import asyncio
import collections
from collections.abc import Iterator
from contextlib import contextmanager

from edge_sdk.values.operating import Event

MOST_WAITING = 256
"""Events a slow listener may fall behind; then it misses the oldest."""


class News:
    """One run's events. Listeners that are slow lose events, never hold anybody up."""

    def __init__(self) -> None:
        self.refusals: collections.Counter[str] = collections.Counter()
        """Refusals by reason since the server started."""
        self.told: collections.Counter[str] = collections.Counter()
        """Events by kind since the server started."""
        self._listeners: set[asyncio.Queue[Event]] = set()

    def tell(self, event: Event) -> None:
        """Hand an event to every listener."""
        self.told[event.kind] += 1
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    @contextmanager
    def listen(self) -> Iterator[asyncio.Queue[Event]]:
        """A queue of what happens from now on, while the context lasts."""
        queue: asyncio.Queue[Event] = asyncio.Queue(MOST_WAITING)
        self._listeners.add(queue)
        try:
            yield queue
        finally:
            self._listeners.discard(queue)
