"""Counts the bytes that a transport carries."""


class ByteMeter:
    """Bytes of HTTP bodies sent and received so far.

    The transport adds, the sensor reads. Both run on the event loop's thread, so there is no lock.
    Headers, TLS and retransmissions are not in these figures.
    """

    __slots__ = ("received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.received_bytes = 0

    def add_sent(self, size_bytes: int) -> None:
        """Count body bytes handed to the connection."""
        self.sent_bytes += size_bytes

    def add_received(self, size_bytes: int) -> None:
        """Count body bytes that arrived."""
        self.received_bytes += size_bytes
