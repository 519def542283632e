"""A TCP relay a test puts between a device and the server: counts bytes, and can cut the line."""

import contextlib
import socket
import threading
from collections.abc import Callable


class Relay:
    """Forwards 127.0.0.1:`port` to `target`; goes silent after `cut_after` bytes sent up.

    `on_cut` runs once, from the relay's own thread, at the moment the limit is reached; the
    connections stay open but silent, as on a dead radio link. `mend` lets new ones through.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        cut_after: int | None = None,
        on_cut: Callable[[], None] = lambda: None,
    ) -> None:
        self._target = target
        self._cut_after = cut_after
        self._on_cut = on_cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.bytes_up = 0
        """Bytes forwarded from device to server, HTTP headers included."""
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        """Where devices connect."""
        port: int = self._listener.getsockname()[1]
        return port

    def mend(self) -> None:
        """Drop the silent connections; carry everything from now on, and count from zero."""
        with self._lock:
            self._cut_after = None
            self.bytes_up = 0
            self._drop()

    def close(self) -> None:
        """Drop everything."""
        self._listener.close()
        self._drop()

    def _drop(self) -> None:
        while self._open:
            one = self._open.pop()
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._open += [device, server]
            for source, sink, up in ((device, server, True), (server, device, False)):
                threading.Thread(target=self._pump, args=(source, sink, up), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        try:
            while data := source.recv(4096):
                if up and not self._count(len(data)):
                    return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def _count(self, size: int) -> bool:
        """False when the line is cut."""
        with self._lock:
            if self._cut_after is not None and self.bytes_up + size > self._cut_after:
                if self.bytes_up <= self._cut_after:
                    self.bytes_up = self._cut_after + 1
                    self._on_cut()
                return False
            self.bytes_up += size
            return True
