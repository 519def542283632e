"""Who is told of transfers, and what the kernel knows of the connection they went over."""

import socket
from collections.abc import Sequence
from typing import Any, Literal, Protocol

TCP_INFO_BYTES = 512
"""More than any kernel's `struct tcp_info`; it gives as much as it has."""


class Watcher(Protocol):
    """Told of every transfer, e.g. `telemetry.LinkMeter`."""

    def transferred(
        self,
        direction: Literal["up", "down"],
        size_bytes: int,
        seconds: float,
        *,
        whole: bool,
        tcp_before: bytes | None,
        tcp_after: bytes | None,
    ) -> None:
        """One request: its larger body, how long it took, and raw TCP_INFO around it."""


class KernelView:
    """Makes the sockets of a session and asks the kernel about the latest one."""

    def __init__(self) -> None:
        self.connections = 0
        """Sockets made so far."""
        self._socket: socket.socket | None = None

    def make_socket(self, address: Sequence[Any]) -> socket.socket:
        """A socket for aiohttp's `socket_factory`; `address` is one answer of `getaddrinfo`."""
        family, kind, protocol = address[:3]
        made = socket.socket(family=family, type=kind, proto=protocol)
        self._socket = made
        self.connections += 1
        return made

    def look(self) -> bytes | None:
        """Raw TCP_INFO of the latest connection; None where there is none, or no such call."""
        option = getattr(socket, "TCP_INFO", None)
        if self._socket is None or option is None or self._socket.fileno() < 0:
            return None
        try:
            return self._socket.getsockopt(socket.IPPROTO_TCP, option, TCP_INFO_BYTES)
        except OSError:
            return None
