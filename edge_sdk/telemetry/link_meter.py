"""Listens to a transport and keeps the estimate of its link."""

from edge_sdk.telemetry.bandwidth import (
    FIRST_MARGIN,
    LATENCY_RTTS,
    Direction,
    LinkEstimate,
    Transfer,
    parse_tcp_info,
)
from edge_sdk.values import Goodput

LEAST_PART_BYTES = 4096
"""A transfer that broke off tells a rate when this much of it had arrived, or when it was long."""


class LinkMeter:
    """What transfers so far say of the link; a `transport.http.Watcher`.

    Args:
        estimate: what was known before, e.g. by an earlier process.
    """

    def __init__(self, estimate: LinkEstimate | None = None) -> None:
        self.estimate = LinkEstimate() if estimate is None else estimate

    def transferred(
        self,
        direction: Direction,
        size_bytes: int,
        seconds: float,
        *,
        whole: bool = True,
        tcp_before: bytes | None = None,
        tcp_after: bytes | None = None,
    ) -> None:
        """Learn from one request.

        Args:
            direction: where its larger body went.
            size_bytes: of that body, as far as it was handed over or read.
            seconds: from the request's first byte to the answer's last.
            whole: whether the answer was the expected one. Of an upload without, the bytes that
                the peer's kernel confirmed count. Where that cannot be told, those handed over
                bound the rate from above, which counts where it lowers what was believed.
            tcp_before: what `getsockopt` gave for TCP_INFO before it, of the same connection.
            tcp_after: the same after it.
        """
        after = None if tcp_after is None else parse_tcp_info(tcp_after)
        before = None if tcp_before is None else parse_tcp_info(tcp_before)
        if not whole:
            if direction == "up" and after is not None and after.acked_bytes is not None:
                start = 0 if before is None else before.acked_bytes or 0
                size_bytes = min(size_bytes, max(0, after.acked_bytes - start))
            elif direction == "up" and not self._lowers(size_bytes, seconds):
                return
            part = Transfer(direction=direction, size_bytes=size_bytes, seconds=seconds)
            if size_bytes < LEAST_PART_BYTES and not part.is_long:
                return
        rtt_s = None
        if after is not None:
            rtt_s = after.rtt_s if after.min_rtt_s is None else after.min_rtt_s
        self.estimate = self.estimate.observe(
            Transfer(direction=direction, size_bytes=size_bytes, seconds=seconds, rtt_s=rtt_s)
        )

    def _lowers(self, size_bytes: int, seconds: float) -> bool:
        believed = self.estimate.rate("up")
        return believed is not None and size_bytes < believed * seconds

    def goodput(self) -> Goodput | None:
        """The estimate as a reading carries it; None before any is known."""
        estimate = self.estimate
        if estimate == LinkEstimate():
            return None
        return Goodput(
            up_bytes_per_s=estimate.rate("up"),
            down_bytes_per_s=estimate.rate("down"),
            up_margin=_margin(estimate, "up"),
            down_margin=_margin(estimate, "down"),
            latency_s=LATENCY_RTTS * (estimate.min_rtt_s or 0.0),
        )


def _margin(estimate: LinkEstimate, direction: Direction) -> float:
    margin = estimate.margin(direction)
    return FIRST_MARGIN if margin is None else margin
