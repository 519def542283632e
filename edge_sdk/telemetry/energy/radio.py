"""What a radio spends on a transfer: a documented model, kept apart from every measured joule.

    E = up * Mbit_sent + down * Mbit_received + active * seconds + tail * bursts

A meter at the supply has seen these joules already, so they are never added to its figure. They
serve to compare links and to plan: few large bursts beat many small ones, because a cellular radio
stays awake for seconds after each.

Coefficients: Huang, Qian, Gerber, Mao, Sen and Spatscheck, "A Close Examination of Performance and
Power Characteristics of 4G LTE Networks", MobiSys 2012, measured on phones of 2011 (its abstract:
LTE up to 23 times less efficient than Wi-Fi, the long tail being the main reason). They are quoted
from notes and were not compared with the paper's table again. Later radios do better, so the result
is a range and its upper end is the model's figure.
"""

from dataclasses import dataclass

from edge_sdk.values import LinkType

NEWER_RADIO_SHARE = 0.3
"""Lower end of the range: what radios a decade newer may spend of the model's figure. A guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioPower:
    """Coefficients of one kind of radio."""

    up_j_per_mbit: float
    down_j_per_mbit: float
    active_w: float
    """While a transfer runs, at whatever rate."""
    tail_j: float
    """After the last byte of each burst."""


RADIOS: dict[LinkType, RadioPower] = {
    "wifi": RadioPower(
        up_j_per_mbit=0.28317, down_j_per_mbit=0.13701, active_w=0.13286, tail_j=0.0
    ),
    "cellular": RadioPower(
        up_j_per_mbit=0.43839, down_j_per_mbit=0.05197, active_w=1.28804, tail_j=1.060 * 11.6
    ),
}
"""Cellular is LTE. Ethernet is not here: its interface draws the same whether bytes flow or not."""


@dataclass(frozen=True, slots=True)
class RadioEnergy:
    """Joules of a transfer, as a range."""

    low_j: float
    high_j: float


def radio_energy(
    link: LinkType | None,
    *,
    sent_bytes: int,
    received_bytes: int,
    seconds: float,
    bursts: int = 1,
) -> RadioEnergy | None:
    """Joules that a radio spends on one transfer; None for a link without a model.

    Args:
        link: kind of link, None when it is not known.
        sent_bytes: bytes sent.
        received_bytes: bytes received.
        seconds: how long bytes were flowing.
        bursts: groups of transfers with a pause longer than the tail (about 12 s) after each.
    """
    radio = None if link is None else RADIOS.get(link)
    if radio is None:
        return None
    high_j = (
        radio.up_j_per_mbit * sent_bytes * 8e-6
        + radio.down_j_per_mbit * received_bytes * 8e-6
        + radio.active_w * seconds
        + radio.tail_j * bursts
    )
    return RadioEnergy(NEWER_RADIO_SHARE * high_j, high_j)


def radio_j_per_byte(
    link: LinkType | None, *, bytes_per_s: float, burst_bytes: int
) -> float | None:
    """Upper end of the joules one sent byte costs, in a burst of `burst_bytes` at a given rate."""
    if bytes_per_s <= 0 or burst_bytes <= 0:
        return None
    spent = radio_energy(
        link, sent_bytes=burst_bytes, received_bytes=0, seconds=burst_bytes / bytes_per_s
    )
    return None if spent is None else spent.high_j / burst_bytes
