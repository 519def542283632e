"""The power-management chip of a Raspberry Pi 5, through the command `vcgencmd pmic_read_adc`.

The command prints a line `NAME_A current(n)=xA` and another `NAME_V volt(n)=yV` for each of twelve
rails; the numbers in brackets are ADC channels and do not pair them, the names do. `EXT5V_V` and
`BATT_V` have no current. What the chip does not feed (USB ports, the 5 V pin, NVMe) is not seen,
and its own loss is not either. The straight line that corrects for the loss was fitted on one
board (github.com/jfikar/RPi5-power); the margin is wide for that reason. Single samples are noisy.

Each sample starts a process, so one a second is the most it is worth.
"""

import math
import re

from edge_sdk.errors import Unavailable
from edge_sdk.telemetry.energy.figures import About
from edge_sdk.telemetry.system import Run, SystemFiles, device_model

COMMAND = ("vcgencmd", "pmic_read_adc")

INTERVAL_S = 1.0

LOSS_SLOPE = 1.1451
LOSS_W = 0.5879
"""Supply power is `LOSS_SLOPE * (sum over rails) + LOSS_W`."""

MAX_RAIL_W = 50.0
"""A rail above this is a broken reading; the whole board's supply gives 25 W."""

_MODELS = ("Raspberry Pi 5", "Raspberry Pi 500", "Compute Module 5")

_LINE = re.compile(
    r"^\s*(?P<rail>[A-Z0-9_]{1,32})_(?P<kind>[AV]) (?:current|volt)\(\d{1,3}\)="
    r"(?P<value>\d{1,4}(?:\.\d{1,12})?)(?P=kind)\s*$",
    re.MULTILINE,
)


def parse_pmic(text: str) -> float | None:
    """Sum over all rails of volts times amperes, W; None when no rail has both, or one is absurd.

    Lines that are not of the known form are passed over.
    """
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for line in _LINE.finditer(text):
        found[line["kind"]][line["rail"]] = float(line["value"])
    rails = [found["A"][rail] * found["V"][rail] for rail in found["A"] if rail in found["V"]]
    if not rails or max(rails) > MAX_RAIL_W:
        return None
    return math.fsum(rails)


class PmicPower:
    """A `PowerSource` over the command.

    Args:
        run: runs commands.
    """

    interval_s = INTERVAL_S
    about = About(
        source="pmic",
        method="integrated",
        scope="device",
        uncertainty=0.15,
        detail="rails of the Raspberry Pi 5's PMIC, corrected for loss; without USB and HATs",
    )

    def __init__(self, run: Run) -> None:
        self._run = run

    def power_w(self) -> float | None:
        """Watts drawn from the supply now."""
        done = self._run(COMMAND)
        rails_w = parse_pmic(done.output) if done is not None and done.status == 0 else None
        return None if rails_w is None else LOSS_SLOPE * rails_w + LOSS_W


def open_pmic(files: SystemFiles, run: Run) -> PmicPower:
    """The PMIC of this board.

    Raises:
        Unavailable: the board has none, the command is missing, or it may not reach the firmware.
    """
    model = device_model(files) or ""
    if not any(name in model for name in _MODELS):
        raise Unavailable("no PMIC that can be asked (Raspberry Pi 5, 500 and Compute Module 5)")
    done = run(COMMAND)
    if done is None:
        raise Unavailable("vcgencmd is missing; do: sudo apt install raspi-utils")
    if done.status != 0 or parse_pmic(done.output) is None:
        raise Unavailable(
            "vcgencmd may not reach the firmware; do: sudo usermod -aG video $USER and log in "
            "again; in a systemd unit: SupplementaryGroups=video and DeviceAllow=/dev/vcio rw"
        )
    return PmicPower(run)
