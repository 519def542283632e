"""Connections in memory: two asyncio transports whose bytes travel over a modelled link."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np

from server_ref.simulate.links import FIRST_WINDOW, Burst, Link, Way, next_burst

HIGH_WATER = 64 * 1024
"""Bytes waiting to leave before the writer is asked to pause."""

MOMENT_S = 1e-6
"""Between the last byte and the end of a connection: timers of one time have no order."""

Carried = Callable[[Way, Burst], None]
"""Told of every burst that leaves."""


class PipeEnd(asyncio.Transport):
    """One end of a connection. What is written here arrives at the other end's protocol."""

    def __init__(
        self,
        link: Link,
        way: Way,
        *,
        start_s: float,
        draw: np.random.Generator,
        carried: Carried,
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._way: Way = way
        self._start_s = start_s
        self._draw = draw
        self._carried = carried
        self._queue = bytearray()
        self._window: float = FIRST_WINDOW
        self._pumping = False
        self._arrival_s = 0.0
        self._closing = False
        self._lost = False
        self._paused_writer = False
        self._paused = False
        self._arrived: list[bytes] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.peer: PipeEnd | None = None

    # ------------------------------------------------------------------ what a protocol calls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes for the other end."""
        if self._closing or not data:
            return
        self._queue += data
        if len(self._queue) > HIGH_WATER and not self._paused_writer and self.protocol is not None:
            self._paused_writer = True
            self.protocol.pause_writing()
        if not self._pumping:
            self._pumping = True
            self._pump()

    def writelines(self, list_of_data: Any) -> None:  # noqa: ANN401 - asyncio's signature
        """Queue several."""
        self.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        """Whether it takes no more bytes."""
        return self._closing

    def close(self) -> None:
        """Send what is queued, then end the connection."""
        if not self._closing:
            self._closing = True
            if not self._pumping:
                self._end()

    def abort(self) -> None:
        """End the connection now."""
        self._queue.clear()
        self._closing = True
        self._end()

    def pause_reading(self) -> None:
        """Keep what arrives."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hand out what was kept."""
        self._paused = False
        self._loop.call_soon(self._hand_out)

    def is_reading(self) -> bool:
        """Whether arriving bytes are handed out."""
        return not self._paused

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        """A peer's name, as a socket would have; nothing else."""
        return ("simulated", 0) if name in {"peername", "sockname"} else default

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left."""
        return len(self._queue)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Whom to hand bytes to."""
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whom bytes are handed to."""
        if self.protocol is None:
            raise RuntimeError("not connected")
        return self.protocol

    # ------------------------------------------------------------------ the way over

    def _pump(self) -> None:
        """Let one burst leave, and come back when more may."""
        if self._lost:
            return
        if not self._queue:
            self._pumping = False
            if self._closing:
                self._end()
            return
        at_s = self._loop.time() - self._start_s
        burst = next_burst(
            self._link,
            self._way,
            queued_bytes=len(self._queue),
            window_bytes=self._window,
            at_s=at_s,
            draw=self._draw,
        )
        if burst is None:
            change_s = self._link.trace.next_change_s(at_s)
            if change_s < float("inf"):
                self._loop.call_at(self._start_s + change_s, self._pump)
            return
        data = bytes(self._queue[: burst.size_bytes])
        del self._queue[: burst.size_bytes]
        self._window = burst.window_bytes
        self._carried(self._way, burst)
        self._arrival_s = self._loop.time() + burst.sending_s + self._link.delay_s
        self._loop.call_at(self._arrival_s, self._arrive, data)
        self._loop.call_later(burst.pause_s, self._pump)
        if self._paused_writer and len(self._queue) <= HIGH_WATER // 4:
            self._paused_writer = False
            if self.protocol is not None:
                self.protocol.resume_writing()

    def _arrive(self, data: bytes) -> None:
        if self.peer is not None:
            self.peer.receive(data)

    def receive(self, data: bytes) -> None:
        """Bytes have come over."""
        self._arrived.append(data)
        if not self._paused:
            self._hand_out()

    def _hand_out(self) -> None:
        while self._arrived and not self._paused and not self._lost:
            data = self._arrived.pop(0)
            if isinstance(self.protocol, asyncio.Protocol):
                self.protocol.data_received(data)

    # ------------------------------------------------------------------ the end

    def _end(self) -> None:
        if self._lost:
            return
        self._lost = True
        if self.protocol is not None:
            self._loop.call_soon(self.protocol.connection_lost, None)
        if self.peer is not None:
            # The closing packet is small: an outage does not hold it here, time-outs do that.
            now_s = self._loop.time() + self._link.delay_s
            self._loop.call_at(max(now_s, self._arrival_s) + MOMENT_S, self.peer.ended)

    def ended(self) -> None:
        """The other end has closed."""
        if not self._lost:
            self._lost = self._closing = True
            if isinstance(self.protocol, asyncio.Protocol):
                self.protocol.eof_received()
            if self.protocol is not None:
                self.protocol.connection_lost(None)


def connect_ends(
    device: PipeEnd,
    server: PipeEnd,
    device_protocol: asyncio.BaseProtocol,
    server_protocol: asyncio.BaseProtocol,
) -> None:
    """Make two ends one connection."""
    device.peer, server.peer = server, device
    device.protocol, server.protocol = device_protocol, server_protocol
    server_protocol.connection_made(server)
    device_protocol.connection_made(device)
