"""Which kind of link carries the traffic, and whether its bytes cost money.

The link is that of the default route. A tunnel (VPN) or bridge hides what is below it and counts
as `other`; so does a phone's USB tether, which looks like Ethernet but is metered more often than
not.
"""

from edge_sdk.telemetry.system import Run, SystemFiles
from edge_sdk.values import LinkType

_NET = "sys/class/net"

_ETHERNET = 1
"""`ARPHRD_ETHER`; Wi-Fi and some modems use it too."""

_TETHER_DRIVERS = ("rndis_host", "ipheth")

METERED_COMMAND = (
    "busctl",
    "get-property",
    "org.freedesktop.NetworkManager",
    "/org/freedesktop/NetworkManager",
    "org.freedesktop.NetworkManager",
    "Metered",
)

_METERED = {1: True, 2: False, 3: True, 4: False}
"""NMMetered: 1 yes, 2 no, 3 guessed yes, 4 guessed no; 0 is not known. A guessed yes counts as yes:
guessing wrongly the other way costs somebody money."""


def link_type(files: SystemFiles) -> LinkType | None:
    """Kind of the default route's interface; None without a default route."""
    name = default_interface(files)
    if name is None or not files.exists(f"{_NET}/{name}"):
        return None
    folder = f"{_NET}/{name}"
    kind = _device_kind(files, folder)
    if kind == "wlan" or files.exists(f"{folder}/wireless") or files.exists(f"{folder}/phy80211"):
        return "wifi"
    if kind == "wwan" or name.startswith(("wwan", "rmnet")):
        return "cellular"
    if kind is not None or not _is_wired(files, folder):
        return "other"
    return "ethernet"


def default_interface(files: SystemFiles) -> str | None:
    """Name of the interface with the cheapest default route, IPv4 before IPv6."""
    routes: list[tuple[int, int, str]] = []
    for line in (files.text("proc/net/route") or "").splitlines()[1:]:
        words = line.split()
        if len(words) >= 8 and words[1] == "00000000" and words[7] == "00000000":
            routes.append((4, _metric(words[6], 10), words[0]))
    for line in (files.text("proc/net/ipv6_route") or "").splitlines():
        words = line.split()
        if len(words) >= 10 and words[1] == "00" and set(words[0]) == {"0"} and words[9] != "lo":
            routes.append((6, _metric(words[5], 16), words[9]))
    usable = [route for route in routes if "/" not in route[2]]
    return min(usable)[2] if usable else None


def read_metered(run: Run) -> bool | None:
    """What NetworkManager says of the default connection; None when there is none to ask."""
    done = run(METERED_COMMAND)
    words = done.output.split() if done is not None and done.status == 0 else []
    if len(words) != 2 or words[0] != "u" or not words[1].isdecimal():
        return None
    return _METERED.get(int(words[1][:4]))


def _device_kind(files: SystemFiles, folder: str) -> str | None:
    """`DEVTYPE` of the interface: wlan, wwan, bridge, vlan, ...; plain Ethernet has none."""
    for line in (files.text(f"{folder}/uevent") or "").splitlines():
        name, _, value = line.partition("=")
        if name == "DEVTYPE":
            return value
    return None


def _is_wired(files: SystemFiles, folder: str) -> bool:
    """Whether it is Ethernet that has hardware behind it, and not a phone's tether."""
    if files.number(f"{folder}/type") != _ETHERNET or not files.exists(f"{folder}/device"):
        return False
    driver = files.text(f"{folder}/device/uevent") or ""
    return not any(f"DRIVER={name}" in driver for name in _TETHER_DRIVERS)


def _metric(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        return 2**32
