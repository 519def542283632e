"""What a link's past says of its next transfer, after it changed for good."""

import struct
import sys

from edge_sdk.telemetry import LinkEstimate, LinkMeter, Transfer


def tcp_info(*, rtt_s: float, acked: int) -> bytes:
    """A faithful `struct tcp_info` of 232 bytes."""
    data = bytearray(232)
    order = "<" if sys.byteorder == "little" else ">"
    struct.pack_into(f"{order}I", data, 68, int(rtt_s * 1e6))
    struct.pack_into(f"{order}I", data, 148, int(rtt_s * 1e6))
    struct.pack_into(f"{order}Q", data, 120, acked)
    return bytes(data)


def up(rate: float, size: int = 100_000) -> Transfer:
    return Transfer(direction="up", size_bytes=size, seconds=size / rate)


def rates_of(*rates: float) -> LinkEstimate:
    estimate = LinkEstimate()
    for rate in rates:
        estimate = estimate.observe(up(rate))
    return estimate


def test_nothing_is_known_before_the_first_transfer() -> None:
    assert LinkMeter().goodput() is None


def test_one_slow_transfer_makes_the_safe_rate_safe_at_once() -> None:
    estimate = rates_of(1e5, 1e5, 1e5, 1e5, 1e4)
    safe = estimate.safe_rate("up")
    assert safe is not None
    assert safe <= 1e4


def test_a_link_that_got_slow_for_good_is_believed_at_the_second_sight() -> None:
    estimate = rates_of(1e5, 1e5, 1e5, 1e5, 1e4, 1e4)
    assert round(estimate.rate("up") or 0) == 10_000
    assert round(estimate.safe_rate("up") or 0) == 10_000, "the margin of the old link is gone"


def test_a_link_that_recovered_is_believed_at_the_second_sight() -> None:
    estimate = rates_of(1e4, 1e4, 1e4, 1e4, 1e5, 1e5)
    assert round(estimate.safe_rate("up") or 0) == 100_000


def test_a_single_outlier_is_not_a_changed_link() -> None:
    estimate = rates_of(1e5, 1e5, 1e5, 1e4, 1e5)
    assert len(estimate.up_bytes_per_s) == 5


def test_rates_predicted_too_low_widen_no_margin() -> None:
    estimate = rates_of(1e4, 1.5e4, 1.8e4)
    assert estimate.up_errors == (0.0, 0.0)


def test_of_a_broken_upload_only_what_the_peer_confirmed_counts() -> None:
    meter = LinkMeter()
    meter.transferred(
        "up",
        500_000,
        10.0,
        whole=False,
        tcp_before=tcp_info(rtt_s=0.1, acked=1000),
        tcp_after=tcp_info(rtt_s=0.1, acked=101_000),
    )
    rate = meter.estimate.rate("up")
    assert rate is not None
    assert 10_000 < rate < 10_300


def test_a_broken_upload_without_the_kernels_word_teaches_nothing() -> None:
    meter = LinkMeter()
    meter.transferred("up", 500_000, 10.0, whole=False)
    assert meter.goodput() is None


def test_the_goodput_keeps_latency_apart() -> None:
    meter = LinkMeter()
    meter.transferred("up", 1, 0.2)
    meter.transferred("up", 100_000, 10.3)
    goodput = meter.goodput()
    assert goodput is not None
    assert round(goodput.latency_s, 9) == 0.3
    assert round(goodput.up_bytes_per_s or 0) == 10_000
