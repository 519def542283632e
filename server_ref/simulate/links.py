"""What a link does to bytes: rate over time, delay, loss, outages, and TCP's slow start. Pure.

A model, not an emulator. A connection sends bursts: at most a window of bytes per round trip, the
window doubling from ten packets up to what rate and loss allow, as TCP's slow start does. A lost
packet is sent again, which costs its bytes and, where nothing follows it that could reveal the
loss, a retransmission time-out. The window's bound under loss is MSS * 1.22 / sqrt(loss) (Mathis,
Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance algorithm", 1997).
Contention between devices, queues that overflow and TLS are left out.
"""

import dataclasses
import math
from typing import Literal

import numpy as np

Way = Literal["up", "down"]

PACKET_BYTES = 1460
HEADER_BYTES = 52
"""IPv4 and TCP with time stamps."""
FIRST_WINDOW = 10 * PACKET_BYTES
"""RFC 6928."""
LEAST_TIMEOUT_S = 0.2
"""Linux's least retransmission time-out; it comes on top of the round trip."""
SYN_TIMEOUT_S = 1.0
"""RFC 6298: before any round trip is known."""
LONGEST_BURST_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """A factor on the link's rate that holds from each time on; 0 is an outage."""

    points: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    """Seconds since the start, rising from 0, and the factor from then on."""
    period_s: float | None = None
    """Begin again after so long; None: the last factor holds for ever."""

    def factor(self, at_s: float) -> float:
        """The factor `at_s` seconds after the start."""
        return self.points[self._index(self._phase(at_s))][1]

    def next_change_s(self, at_s: float) -> float:
        """When, after `at_s`, the factor may change; infinity when it does not."""
        phase = self._phase(at_s)
        index = self._index(phase) + 1
        if index < len(self.points):
            # Never `at_s` itself: rounding must not make time stand still.
            return max(float(at_s + self.points[index][0] - phase), math.nextafter(at_s, math.inf))
        if self.period_s is None:
            return math.inf
        return max(at_s + (self.period_s - phase), math.nextafter(at_s, math.inf))

    def _phase(self, at_s: float) -> float:
        return at_s if self.period_s is None else at_s % self.period_s

    def _index(self, phase: float) -> int:
        return max(i for i, (from_s, _) in enumerate(self.points) if i == 0 or from_s <= phase)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One device's link."""

    up_bytes_per_s: float
    down_bytes_per_s: float
    delay_s: float
    """One way."""
    loss: float = 0.0
    """Share of packets lost, each way."""
    trace: Trace = Trace()
    traced: tuple[Way, ...] = ("up", "down")
    """Ways that the trace's factors hold for."""

    @property
    def rtt_s(self) -> float:
        """Round trip of a small packet."""
        return 2 * self.delay_s

    @property
    def widest_window(self) -> float:
        """Bytes that TCP keeps under way at most, under this loss."""
        if self.loss <= 0:
            return math.inf
        return max(4 * PACKET_BYTES, PACKET_BYTES * 1.22 / math.sqrt(self.loss))

    def rate(self, way: Way, at_s: float) -> float:
        """Bytes a second `at_s` seconds after the start; 0 in an outage."""
        full = self.up_bytes_per_s if way == "up" else self.down_bytes_per_s
        return full * self.trace.factor(at_s) if way in self.traced else full


@dataclasses.dataclass(frozen=True, slots=True)
class Burst:
    """Bytes that leave together."""

    size_bytes: int
    """Taken from the queue."""
    wire_bytes: int
    """With headers and what was sent again."""
    sending_s: float
    """From now until the last of them has left; the delay comes on top."""
    pause_s: float
    """From now until more may leave."""
    window_bytes: float
    """For the next burst."""


def next_burst(
    link: Link,
    way: Way,
    *,
    queued_bytes: int,
    window_bytes: float,
    at_s: float,
    draw: np.random.Generator,
) -> Burst | None:
    """What leaves now of `queued_bytes` (over 0); None in an outage: ask at the trace's change."""
    rate = link.rate(way, at_s)
    if rate <= 0:
        return None
    window = min(window_bytes, link.widest_window)
    pipe_bytes = rate * link.rtt_s
    if window < pipe_bytes:
        size = min(queued_bytes, int(window))
    else:
        size = min(queued_bytes, max(int(window), int(rate * LONGEST_BURST_S)))
    until_change = (link.trace.next_change_s(at_s) - at_s) * rate
    size = max(1, size if until_change >= size else int(until_change))
    packets = -(-size // PACKET_BYTES)
    lost = int(draw.binomial(packets, link.loss)) if link.loss > 0 else 0
    wire = size + packets * HEADER_BYTES + lost * (PACKET_BYTES + HEADER_BYTES)
    sending_s = wire / rate
    if lost and size == queued_bytes and packets <= 3:
        sending_s += LEAST_TIMEOUT_S + link.rtt_s
    limited = window < pipe_bytes and size < queued_bytes
    return Burst(
        size_bytes=size,
        wire_bytes=wire,
        sending_s=sending_s,
        pause_s=max(sending_s, link.rtt_s) if limited else sending_s,
        window_bytes=min(2 * window, link.widest_window, 1e9),
    )


def connecting_s(link: Link, draw: np.random.Generator) -> float:
    """How long TCP's handshake takes: a round trip, and a time-out for each lost packet of it."""
    lost = 0
    while lost < 5 and link.loss > 0 and draw.random() < 1 - (1 - link.loss) ** 2:
        lost += 1
    return link.rtt_s + SYN_TIMEOUT_S * ((1 << lost) - 1)
