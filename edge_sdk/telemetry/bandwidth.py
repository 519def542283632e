"""How long will a transfer take? A model that keeps latency and rate apart. Pure.

    T(bytes) = 1.5 * min_rtt + bytes / B

B is the harmonic mean of the last five rates, each corrected for latency:
`bytes / (seconds - 1.5 * min_rtt)`. Plain goodput of small uploads measures latency, not rate: for
2 kB on a 1 Mbit/s link with 200 ms of round trip it is 27 times too low. The half round trip more
than one is what a request over a kept-alive connection waits on top of its own bytes; the harmonic
mean (as in MPC) answers "how long" without bias where rates change; this form beat six others on
real TCP (figures in `docs/energy.md`).

When the question is whether a deadline will be met, B is divided by `1 + e`, with e the largest
relative error of the model's own last five predictions of the rate (RobustMPC: Yin, Jindal, Sekar,
Sinopoli, "A Control-Theoretic Approach for Dynamic Adaptive Video Streaming", SIGCOMM 2015): the
margin tightens as predictions prove right. Unlike there, only rates predicted too high count: a
link that got faster endangers no deadline. And two things bound the margin. While a link only
varies, the largest error puts the safe rate at about the slowest rate seen; after a break that rate
is in B already and the error of the break would count twice, so the safe rate is never less than
the slowest rate divided by `1 + FIRST_MARGIN`. And a transfer whose time was mostly latency did
flow at `bytes / seconds` at least, so no error remembered says less than that.

A link that changed for good is believed at the second sight: when the last two rates lie both above
or both below the mean of the older ones by more than `CHANGED`, what is older is forgotten.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edge_sdk.errors import Misuse

Direction = Literal["up", "down"]

SAMPLES = 5
"""Rates and errors remembered for each direction."""

RTT_SAMPLES = 20
"""Round trips remembered; the least of them is `min_rtt`, so a moved device forgets the old one."""

LATENCY_RTTS = 1.5

CHANGED = 2.0
"""Factor that two rates in a row must be off by to make the older ones void."""

FIRST_MARGIN = 0.5
"""Of a rate seen once, which no prediction has been held against."""

ONE_PACKET_BYTES = 1400
"""A transfer up to this size is a round trip and says little else: a rate only where it was faster
than the believed one allows, where it was long, or as the second sight of a link that became slow:
alone its time may be that of a lost packet."""

LONG_S = 10.0
"""What took longer is not explained by latency and packets sent again: its bytes were slow."""

LEAST_LONG_BYTES = 100
"""So many of them tell how slow."""

LEAST_CORRECTED_SHARE = 0.25
"""The part of a transfer's time that counts as bytes flowing is at least this. A transfer that is
all latency bounds the rate from below only, so it is remembered only where it raises the estimate
or where nothing else is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One request that was really made."""

    direction: Direction
    size_bytes: int
    """Payload in that direction."""
    seconds: float
    """From the request's first byte to the answer's last."""
    rtt_s: float | None = None
    """The kernel's least round trip (TCP_INFO), where the system has it."""

    @property
    def is_long(self) -> bool:
        """Whether it tells a rate however few its bytes were."""
        return self.seconds > LONG_S and self.size_bytes >= LEAST_LONG_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkEstimate:
    """What is known of a link; the initial value knows nothing. A value: `observe` gives a new one.

    Newest first in every row.
    """

    up_bytes_per_s: tuple[float, ...] = ()
    down_bytes_per_s: tuple[float, ...] = ()
    up_errors: tuple[float, ...] = ()
    down_errors: tuple[float, ...] = ()
    rtts_s: tuple[float, ...] = ()

    @property
    def min_rtt_s(self) -> float | None:
        """Least round trip lately; None before any is known."""
        return min(self.rtts_s, default=None)

    def observe(self, transfer: Transfer) -> "LinkEstimate":
        """The estimate after one more transfer.

        Without TCP_INFO a request that fits a packet serves as a round trip, unless half its time
        is what a packet takes on a link so slow. A transfer without bytes or time tells no rate.

        Raises:
            Misuse: a size or a time is negative or not finite.
        """
        _check(transfer)
        learned = self._with_rtt(transfer)
        if transfer.size_bytes == 0 or transfer.seconds <= 0:
            return learned
        rate, is_bound = learned._corrected_rate(transfer)
        small = transfer.size_bytes <= ONE_PACKET_BYTES
        confirms = not is_bound and self._confirms(transfer, rate)
        if small and not transfer.is_long and not confirms:
            if self.rate(transfer.direction) is None:
                return learned
            # Of a rate it tells only that it is at least this.
            rate, is_bound = transfer.size_bytes / transfer.seconds, True
        expected = self.rate(transfer.direction)
        errors = self._errors(transfer.direction)
        if is_bound and expected is not None and rate <= expected:
            disproved = expected / rate - 1
            return learned._with_errors(
                transfer.direction, tuple(min(error, disproved) for error in errors)
            )
        if expected is not None:
            errors = (max(0.0, expected - rate) / rate, *errors)[:SAMPLES]
        rates = (rate, *self._rates(transfer.direction))[:SAMPLES]
        if _has_changed(rates):
            rates, errors = rates[:2], (abs(rates[0] - rates[1]) / min(rates[:2]),)
        learned = learned._with_errors(transfer.direction, errors)
        if transfer.direction == "up":
            return replace(learned, up_bytes_per_s=rates)
        return replace(learned, down_bytes_per_s=rates)

    def rate(self, direction: Direction) -> float | None:
        """B, bytes a second; None before any transfer worth counting."""
        rates = self._rates(direction)
        return len(rates) / sum(1 / rate for rate in rates) if rates else None

    def safe_rate(self, direction: Direction) -> float | None:
        """B divided by one plus the margin."""
        rate = self.rate(direction)
        return None if rate is None else rate / (1 + (self.margin(direction) or 0.0))

    def margin(self, direction: Direction) -> float | None:
        """The largest of the last errors, within its bounds; None before any prediction."""
        rate, errors = self.rate(direction), self._errors(direction)
        if rate is None or not errors:
            return None
        slowest = min(self._rates(direction)) / (1 + FIRST_MARGIN)
        return min(max(errors), rate / slowest - 1)

    def seconds(self, direction: Direction, size_bytes: int, *, safe: bool = False) -> float | None:
        """T for `size_bytes`; with `safe`, at the safe rate. None when the rate is not known."""
        rate = self.safe_rate(direction) if safe else self.rate(direction)
        return None if rate is None else self._latency_s + size_bytes / rate

    def bytes_within(
        self, direction: Direction, seconds: float, *, safe: bool = True
    ) -> int | None:
        """Most bytes that fit into `seconds`; 0 when latency alone takes longer."""
        rate = self.safe_rate(direction) if safe else self.rate(direction)
        return None if rate is None else max(0, int((seconds - self._latency_s) * rate))

    @property
    def _latency_s(self) -> float:
        return LATENCY_RTTS * (self.min_rtt_s or 0.0)

    def _rates(self, direction: Direction) -> tuple[float, ...]:
        return self.up_bytes_per_s if direction == "up" else self.down_bytes_per_s

    def _errors(self, direction: Direction) -> tuple[float, ...]:
        return self.up_errors if direction == "up" else self.down_errors

    def _confirms(self, transfer: Transfer, rate: float) -> bool:
        """Whether a transfer of few bytes is the second sight of a link that became slow."""
        rates = self._rates(transfer.direction)
        seen_once = _has_changed((rate, *rates))
        return seen_once and rate < rates[-1] and transfer.size_bytes >= LEAST_LONG_BYTES

    def _with_errors(self, direction: Direction, errors: tuple[float, ...]) -> "LinkEstimate":
        if direction == "up":
            return replace(self, up_errors=errors)
        return replace(self, down_errors=errors)

    def _with_rtt(self, transfer: Transfer) -> "LinkEstimate":
        rtt_s = transfer.rtt_s
        if rtt_s is None and transfer.size_bytes <= ONE_PACKET_BYTES:
            rtt_s = transfer.seconds
            slowest = min(self._rates(transfer.direction), default=math.inf)
            if self.rtts_s and slowest * rtt_s < 2 * ONE_PACKET_BYTES:
                return self
        if not rtt_s:
            return self
        return replace(self, rtts_s=(rtt_s, *self.rtts_s)[:RTT_SAMPLES])

    def _corrected_rate(self, transfer: Transfer) -> tuple[float, bool]:
        """Bytes a second without latency, and whether that is only a bound from below."""
        least_s = LEAST_CORRECTED_SHARE * transfer.seconds
        flowing_s = transfer.seconds - self._latency_s
        return transfer.size_bytes / max(flowing_s, least_s), flowing_s < least_s


def estimate_link(transfers: Sequence[Transfer]) -> LinkEstimate:
    """The estimate after `transfers`, oldest first."""
    estimate = LinkEstimate()
    for transfer in transfers:
        estimate = estimate.observe(transfer)
    return estimate


def _has_changed(rates: Sequence[float]) -> bool:
    """Whether the two newest agree with each other and not with the rest."""
    older = rates[2:]
    if not older:
        return False
    mean = len(older) / sum(1 / rate for rate in older)
    slower = all(rate * CHANGED < mean for rate in rates[:2])
    faster = all(rate > mean * CHANGED for rate in rates[:2])
    return slower or faster


def _check(transfer: Transfer) -> None:
    numbers = (transfer.size_bytes, transfer.seconds, transfer.rtt_s or 0.0)
    if not all(0 <= number < float("inf") for number in numbers):
        raise Misuse(f"not a transfer: {transfer}")


# ------------------------------------------------------------------ what the kernel knows


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpInfo:
    """Linux's `struct tcp_info`, as far as it is used here; None where an old kernel has less."""

    rtt_s: float
    min_rtt_s: float | None
    delivery_bytes_per_s: int | None
    sent_bytes: int | None
    """TCP payload put on the wire, retransmissions included."""
    acked_bytes: int | None
    """TCP payload that the peer has confirmed."""
    retransmitted_bytes: int | None
    segments_out: int | None

    @property
    def wire_bytes(self) -> int | None:
        """Sent bytes with 52 bytes of IPv4 and TCP header (with time stamps) for each segment."""
        if self.sent_bytes is None or self.segments_out is None:
            return None
        return self.sent_bytes + 52 * self.segments_out


TCP_INFO_BYTES = 512
"""Ask `getsockopt(IPPROTO_TCP, TCP_INFO, TCP_INFO_BYTES)` for this much; kernels return less."""


def parse_tcp_info(data: bytes) -> TcpInfo | None:
    """Read what `getsockopt` gave; None when even the round trip is not in it.

    Offsets are those of `include/uapi/linux/tcp.h`: eight bytes, 24 words of 32 bits, then words of
    64 and 32 bits; newer kernels only append. Little and big endian as the machine itself.
    """
    if len(data) < 72:
        return None
    return TcpInfo(
        rtt_s=_word(data, 68, 4) / 1e6,
        min_rtt_s=_known_rtt(data),
        delivery_bytes_per_s=_optional(data, 160, 8),
        sent_bytes=_optional(data, 200, 8),
        acked_bytes=_optional(data, 120, 8),
        retransmitted_bytes=_optional(data, 208, 8),
        segments_out=_optional(data, 136, 4),
    )


def _known_rtt(data: bytes) -> float | None:
    """The kernel starts `min_rtt` at its largest value, which means: none yet."""
    micros = _optional(data, 148, 4)
    return None if micros is None or micros == 2**32 - 1 else micros / 1e6


def _optional(data: bytes, offset: int, size: int) -> int | None:
    return None if len(data) < offset + size else _word(data, offset, size)


def _word(data: bytes, offset: int, size: int) -> int:
    return int.from_bytes(data[offset : offset + size], sys.byteorder)
