"""Bytes arrive whole and in order, never faster than the link, and outages hold them."""

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_ref.simulate.links import FIRST_WINDOW, Link, Trace, connecting_s, next_burst
from server_ref.simulate.loop import VirtualLoop, virtual_loop
from server_ref.simulate.pipes import PipeEnd, connect_ends

LOSSES = st.sampled_from([0.0, 0.01, 0.05, 0.3])


def link(**changes: object) -> Link:
    given: dict[str, object] = {
        "up_bytes_per_s": 31_250.0,
        "down_bytes_per_s": 31_250.0,
        "delay_s": 0.1,
    }
    return Link(**(given | changes))  # type: ignore[arg-type]  # the fields above


def sending_s(one: Link, size_bytes: int, *, seed: int = 0, at_s: float = 0.0) -> tuple[float, int]:
    """Seconds until the last byte has left, and bytes on the wire."""
    draw = np.random.Generator(np.random.PCG64(seed))
    window: float = FIRST_WINDOW
    left, wire, start_s, ready_s = size_bytes, 0, at_s, at_s
    while left:
        burst = next_burst(one, "up", queued_bytes=left, window_bytes=window, at_s=at_s, draw=draw)
        if burst is None:
            at_s = one.trace.next_change_s(at_s)
            continue
        left -= burst.size_bytes
        wire += burst.wire_bytes
        ready_s = at_s + burst.sending_s
        at_s += burst.pause_s
        window = burst.window_bytes
    return ready_s - start_s, wire


@given(size=st.integers(1, 500_000), loss=LOSSES, seed=st.integers(0, 99))
def test_no_link_carries_more_than_its_rate(size: int, loss: float, seed: int) -> None:
    seconds, wire = sending_s(link(loss=loss), size, seed=seed)
    assert wire >= size
    assert seconds >= wire / 31_250.0 * (1 - 1e-9)


def test_a_long_transfer_comes_near_the_rate_and_a_short_one_does_not() -> None:
    fast = link(up_bytes_per_s=1e6)
    assert sending_s(fast, 10_000_000)[0] < 1.2 * 10
    # 100 kB fit ten times into the second; the window needs three round trips to open for them.
    assert sending_s(fast, 100_000)[0] > 2 * 0.2


def test_loss_costs_bytes_and_time() -> None:
    clean, lossy = sending_s(link(), 200_000), sending_s(link(loss=0.05), 200_000)
    assert 1.02 < lossy[1] / clean[1] < 1.1
    assert lossy[0] > clean[0]


def test_an_outage_holds_bytes_until_it_is_over() -> None:
    out = link(trace=Trace(((0.0, 1.0), (1.0, 0.0), (100.0, 1.0))))
    assert sending_s(out, 62_500)[0] > 100
    assert sending_s(link(), 62_500)[0] < 3


@given(at_s=st.floats(0, 1e6), period=st.none() | st.floats(50, 1000))
def test_a_trace_always_moves_on(at_s: float, period: float | None) -> None:
    trace = Trace(((0.0, 1.0), (10.0, 0.5), (40.0, 0.0)), period)
    change_s = trace.next_change_s(at_s)
    assert change_s > at_s
    if period is None and at_s >= 40:
        assert change_s == math.inf
        assert trace.factor(at_s) == 0.0


def test_a_periodic_trace_repeats() -> None:
    trace = Trace(((0.0, 1.0), (10.0, 0.5)), 60.0)
    assert [trace.factor(at) for at in (0, 10, 59.9, 60, 75, 130)] == [1, 0.5, 0.5, 1, 0.5, 0.5]


def test_connecting_takes_a_round_trip_and_more_when_packets_are_lost() -> None:
    draw = np.random.Generator(np.random.PCG64(1))
    assert connecting_s(link(), draw) == 0.2
    took = [connecting_s(link(loss=0.3), draw) for _ in range(200)]
    assert min(took) == 0.2
    assert max(took) > 3


class _Sink(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = bytearray()
        self.arrived_s = 0.0
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.arrived_s = virtual_loop().time()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.lost = True


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_pipe_hands_over_every_byte_in_order_and_then_its_end(loss: float) -> None:
    sent = np.random.Generator(np.random.PCG64(5)).bytes(300_000)

    async def main() -> tuple[bytes, float, bool]:
        start_s = virtual_loop().time()
        draw = np.random.Generator(np.random.PCG64(1))
        one = link(loss=loss)
        ends = [
            PipeEnd(one, way, start_s=start_s, draw=draw, carried=lambda *_: None)
            for way in ("up", "down")
        ]
        device, server = _Sink(), _Sink()
        connect_ends(ends[0], ends[1], device, server)
        for start in range(0, len(sent), 70_000):
            ends[0].write(sent[start : start + 70_000])
        ends[0].close()
        await asyncio.sleep(60)
        return bytes(server.data), server.arrived_s - start_s, server.lost and device.lost

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        data, took_s, ended = runner.run(main())
    assert data == sent
    assert took_s > 300_000 / 31_250
    assert ended
