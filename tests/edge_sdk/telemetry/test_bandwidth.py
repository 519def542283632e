import math
import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Misuse
from edge_sdk.telemetry.bandwidth import (
    FIRST_MARGIN,
    TCP_INFO_BYTES,
    LinkEstimate,
    Transfer,
    estimate_link,
    parse_tcp_info,
)

RECORDED_KBIT_S = {2_000: 70, 8_000: 234, 16_000: 365, 64_000: 694, 256_000: 860}
"""Goodput of uploads over a kept-alive connection of 1 Mbit/s and 200 ms, by size: real TCP."""


def recorded(size_bytes: int) -> Transfer:
    seconds = size_bytes * 8 / (RECORDED_KBIT_S[size_bytes] * 1000)
    return Transfer(direction="up", size_bytes=size_bytes, seconds=seconds, rtt_s=0.2)


def perfect(size_bytes: int, *, rate: float, rtt_s: float = 0.1) -> Transfer:
    seconds = 1.5 * rtt_s + size_bytes / rate
    return Transfer(direction="up", size_bytes=size_bytes, seconds=seconds, rtt_s=rtt_s)


def test_nothing_is_known_before_the_first_transfer() -> None:
    link = LinkEstimate()
    assert link.rate("up") is None
    assert link.seconds("up", 1000) is None
    assert link.bytes_within("down", 10) is None
    assert link.min_rtt_s is None


def test_large_uploads_predict_small_ones_and_small_ones_do_not_spoil_large_ones() -> None:
    link = estimate_link([recorded(64_000), recorded(256_000), recorded(2_000), recorded(8_000)])
    for size_bytes in RECORDED_KBIT_S:
        expected = link.seconds("up", size_bytes)
        assert expected is not None
        assert abs(math.log2(expected / recorded(size_bytes).seconds)) < 0.5
    goodput = RECORDED_KBIT_S[2_000] * 125
    assert 256_000 / goodput > 10 * recorded(256_000).seconds, "what plain goodput would say"


@given(
    sizes=st.lists(st.integers(20_000, 10_000_000), min_size=1, max_size=12),
    rate=st.floats(1e4, 1e5),
    rtt_s=st.floats(0.001, 0.1),
)
def test_a_steady_link_is_predicted_exactly(sizes: list[int], rate: float, rtt_s: float) -> None:
    link = estimate_link([perfect(size, rate=rate, rtt_s=rtt_s) for size in sizes])
    assert link.rate("up") == pytest.approx(rate)
    assert link.safe_rate("up") == pytest.approx(rate, rel=1e-6)
    assert link.seconds("up", 50_000) == pytest.approx(1.5 * rtt_s + 50_000 / rate)


def test_the_rate_is_the_harmonic_mean_of_the_last_five() -> None:
    rates = [1e3, 2e5, 1e5, 5e4, 2e5, 1e5]
    link = estimate_link([perfect(100_000, rate=rate) for rate in rates])
    assert link.rate("up") == pytest.approx(5 / sum(1 / rate for rate in rates[1:]))


def test_the_margin_tightens_as_predictions_prove_right() -> None:
    link = estimate_link([perfect(100_000, rate=1e5), perfect(100_000, rate=8e4)])
    rate, safe = link.rate("up"), link.safe_rate("up")
    assert rate is not None
    assert safe is not None
    assert safe == pytest.approx(rate / 1.25), "the last prediction was a quarter too high"
    for _ in range(12):
        link = link.observe(perfect(100_000, rate=8e4))
    assert link.safe_rate("up") == pytest.approx(8e4)


@given(factor=st.floats(2, 100), before=st.integers(1, 8))
def test_a_break_does_not_count_twice(factor: float, before: int) -> None:
    link = estimate_link([perfect(100_000, rate=1e5)] * before)
    link = link.observe(perfect(100_000, rate=1e5 / factor))
    safe = link.safe_rate("up")
    assert safe is not None
    assert 1e5 / factor / (1 + FIRST_MARGIN) * 0.999 <= safe <= 1e5 / factor * 1.001


def test_an_upload_of_one_packet_in_time_disproves_a_margin_that_said_otherwise() -> None:
    link = estimate_link([perfect(100_000, rate=1e5)] * 5)
    link = link.observe(perfect(100_000, rate=1e3))
    prompt = Transfer(direction="up", size_bytes=600, seconds=0.18, rtt_s=0.1)
    again = link.observe(prompt)
    assert again.rate("up") == link.rate("up"), "it tells that the rate is no lower, not how high"
    assert again.safe_rate("up") == pytest.approx(600 / 0.18)


def test_of_few_bytes_that_took_long_the_rate_is_believed() -> None:
    link = estimate_link([perfect(100_000, rate=1e5)] * 5)
    link = link.observe(Transfer(direction="up", size_bytes=900, seconds=50.0, rtt_s=0.1))
    safe = link.safe_rate("up")
    assert safe is not None
    assert safe < 20


def test_a_link_ten_times_slower_is_believed_at_once_and_a_recovery_within_five() -> None:
    link = estimate_link([perfect(100_000, rate=1e5)] * 5)
    link = link.observe(perfect(100_000, rate=1e4))
    safe = link.seconds("up", 100_000, safe=True)
    assert safe is not None
    assert safe >= 10
    for _ in range(4):
        link = link.observe(perfect(100_000, rate=1e4))
    for _ in range(5):
        link = link.observe(perfect(100_000, rate=1e5))
    assert link.rate("up") == pytest.approx(1e5)


def test_without_tcp_info_the_fastest_small_request_is_the_round_trip() -> None:
    small = [Transfer(direction="up", size_bytes=300, seconds=s) for s in (0.31, 0.2, 0.25)]
    link = estimate_link([*small, Transfer(direction="up", size_bytes=100_000, seconds=1.3)])
    assert link.min_rtt_s == 0.2
    assert link.rate("up") == pytest.approx(1e5)
    assert link.rate("down") is None


def test_few_bytes_are_the_second_sight_of_a_slow_link_and_never_the_first() -> None:
    slow = Transfer(direction="up", size_bytes=1200, seconds=6.0)
    steady = estimate_link([perfect(100_000, rate=1e5)] * 5)
    assert steady.observe(slow).observe(slow).rate("up") == steady.rate("up")
    broken = steady.observe(perfect(100_000, rate=250)).observe(slow)
    assert broken.rate("up") == pytest.approx(230, rel=0.1)


def test_on_a_slow_link_the_time_of_a_packet_is_no_round_trip() -> None:
    small = Transfer(direction="up", size_bytes=1, seconds=0.6)
    link = estimate_link([small, *[Transfer(direction="up", size_bytes=10_000, seconds=40.0)] * 5])
    for _ in range(40):
        link = link.observe(Transfer(direction="up", size_bytes=1, seconds=6.2))
    assert link.min_rtt_s == pytest.approx(0.6)


def test_both_directions_are_kept_apart() -> None:
    link = estimate_link(
        [
            perfect(100_000, rate=1e4),
            Transfer(direction="down", size_bytes=100_000, seconds=1.15, rtt_s=0.1),
        ]
    )
    assert link.rate("up") == pytest.approx(1e4)
    assert link.rate("down") == pytest.approx(1e5)


@given(st.integers(1, 10**8), st.floats(1e-6, 1e5), st.floats(0, 10) | st.none())
def test_any_transfer_leaves_a_usable_estimate(
    size_bytes: int, seconds: float, rtt_s: float | None
) -> None:
    transfer = Transfer(direction="down", size_bytes=size_bytes, seconds=seconds, rtt_s=rtt_s)
    link = estimate_link([transfer, transfer])
    rate = link.rate("down")
    assert rate is None or 0 < rate < math.inf
    within = link.bytes_within("down", 1.0)
    assert within is None or within >= 0


def test_what_fits_into_a_time_takes_that_time() -> None:
    link = estimate_link([perfect(100_000, rate=1e5)] * 3)
    size = link.bytes_within("up", 2.0)
    assert size is not None
    assert link.seconds("up", size, safe=True) == pytest.approx(2.0, abs=1e-4)
    assert link.bytes_within("up", 0.1) == 0


@pytest.mark.parametrize(("size_bytes", "seconds"), [(-1, 1.0), (1, -1.0), (1, math.nan)])
def test_an_impossible_transfer_is_misuse(size_bytes: int, seconds: float) -> None:
    with pytest.raises(Misuse):
        LinkEstimate().observe(Transfer(direction="up", size_bytes=size_bytes, seconds=seconds))


# ------------------------------------------------------------------ TCP_INFO


def recorded_tcp_info() -> bytes:
    """A block as Linux 6 gives it, with the fields read here filled in."""
    block = bytearray(280)
    for offset, size, value in (
        (68, 4, 203_500),
        (136, 4, 274),
        (148, 4, 200_120),
        (160, 8, 118_000),
        (200, 8, 389_196),
        (208, 8, 66_600),
    ):
        block[offset : offset + size] = value.to_bytes(size, sys.byteorder)
    return bytes(block)


def test_tcp_info_tells_round_trips_and_bytes_on_the_wire() -> None:
    info = parse_tcp_info(recorded_tcp_info())
    assert info is not None
    assert (info.rtt_s, info.min_rtt_s) == (0.2035, 0.20012)
    assert (info.sent_bytes, info.retransmitted_bytes) == (389_196, 66_600)
    assert info.wire_bytes == 403_444


@pytest.mark.parametrize("length", range(0, 281, 4))
def test_older_kernels_give_less_and_that_is_none(length: int) -> None:
    info = parse_tcp_info(recorded_tcp_info()[:length])
    assert (info is None) == (length < 72)
    if info is not None:
        assert (info.wire_bytes is None) == (length < 208)


def test_a_connection_that_has_no_round_trip_yet_says_so() -> None:
    block = bytearray(recorded_tcp_info())
    block[148:152] = b"\xff" * 4
    info = parse_tcp_info(bytes(block))
    assert info is not None
    assert info.min_rtt_s is None


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this system has no TCP_INFO")
def test_a_real_socket_is_understood() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        peer, _ = server.accept()
        with peer:
            client.sendall(bytes(5000))
            received = 0
            while received < 5000:
                received += len(peer.recv(5000))
            data = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
    info = parse_tcp_info(data)
    assert info is not None
    assert 0 <= info.rtt_s < 5
    assert info.sent_bytes in (None, 5000)
