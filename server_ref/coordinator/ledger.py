"""What devices reported of their updates, added up: costs by round and phase, the latest by device.

Rebuilt from recorded commits when the server starts, so that it need not be stored.
"""

import bisect
import collections
import dataclasses

from edge_sdk.values import Commit, Cost, DeviceReport, LateCosts, Phase
from edge_sdk.values.operating import Costs, CostsOfRound, PhaseCosts

UPDATE_S_BOUNDS = tuple(float(f"{base}e{power}") for power in range(-2, 4) for base in (1, 2, 5))
"""Classes of update times: 1, 2, 5 in every decade from 10 ms to 5,000 s."""

WORK: frozenset[Phase] = frozenset({"download", "train", "encode", "upload"})
PHASES: tuple[Phase, ...] = ("wait", "download", "train", "encode", "upload")


@dataclasses.dataclass(slots=True)
class _Sum:
    seconds: float = 0.0
    energy_j: float = 0.0
    devices: int = 0
    metered: int = 0

    def add(self, cost: Cost) -> None:
        self.seconds += cost.seconds
        self.devices += 1
        if cost.energy_j is not None:
            self.energy_j += cost.energy_j
            self.metered += 1


@dataclasses.dataclass(slots=True)
class Account:
    """What one device said."""

    updates: int = 0
    energy_j: float | None = None
    last_round: int | None = None
    late_round: int | None = None
    """Whose late costs are in the books."""
    last: Commit | None = None
    """Its latest commit."""
    stage: int = 0
    """Of that update."""
    update_s: float | None = None
    """How long that update took it, waiting left out."""
    report: DeviceReport | None = None
    """With its latest check-in."""


class Ledger:
    """Sums over all commits of a run."""

    def __init__(self) -> None:
        self.accounts: collections.defaultdict[str, Account] = collections.defaultdict(Account)
        self._rounds: collections.defaultdict[int, dict[Phase, _Sum]] = collections.defaultdict(
            dict
        )
        self._times = [0] * (len(UPDATE_S_BOUNDS) + 1)

    def add(self, number: int, device: str, commit: Commit, *, stage: int = 0) -> None:
        """Take the commit of a counted update in; one of a round known already changes nothing."""
        account = self.accounts[device]
        if account.last_round is not None and number <= account.last_round:
            return
        account.updates += 1
        account.last_round, account.last, account.stage = number, commit, stage
        self._spend(number, account, commit.costs)
        account.update_s = None
        self._took(account, commit.costs)

    def heard(self, device: str, report: DeviceReport) -> None:
        """Take in how a device is."""
        self.accounts[device].report = report

    def add_late(self, device: str, late: LateCosts) -> bool:
        """Take in costs that the device's latest commit could not carry; whether they are news."""
        account = self.accounts[device]
        if late.round != account.last_round or account.late_round == late.round:
            return False
        account.late_round = late.round
        self._spend(late.round, account, late.costs)
        self._took(account, late.costs)
        return True

    def forget(self, device: str) -> None:
        """Drop what is known of a device; sums over rounds stay."""
        self.accounts.pop(device, None)

    def energy_j(self) -> dict[Phase, float]:
        """Joules by phase over the whole run, where any device could tell."""
        found: dict[Phase, float] = {}
        for phases in self._rounds.values():
            for phase, one in phases.items():
                if one.metered:
                    found[phase] = found.get(phase, 0.0) + one.energy_j
        return found

    def costs(self) -> Costs:
        """Everything, as the operator sees it."""
        rounds = (
            CostsOfRound(round=number, phases=tuple(_phases(phases)))
            for number, phases in sorted(self._rounds.items())
        )
        return Costs(
            rounds=tuple(rounds),
            update_s_bounds=UPDATE_S_BOUNDS,
            update_s_counts=tuple(self._times),
        )

    def _took(self, account: Account, costs: tuple[Cost, ...]) -> None:
        """Add to the time of the device's latest update, and count it in its class."""
        more_s = [cost.seconds for cost in costs if cost.phase in WORK]
        if not more_s:
            return
        if account.update_s is not None:
            self._times[bisect.bisect_left(UPDATE_S_BOUNDS, account.update_s)] -= 1
        account.update_s = (account.update_s or 0.0) + sum(more_s)
        self._times[bisect.bisect_left(UPDATE_S_BOUNDS, account.update_s)] += 1

    def _spend(self, number: int, account: Account, costs: tuple[Cost, ...]) -> None:
        for cost in costs:
            self._rounds[number].setdefault(cost.phase, _Sum()).add(cost)
            if cost.energy_j is not None:
                account.energy_j = (account.energy_j or 0.0) + cost.energy_j


def _phases(sums: dict[Phase, _Sum]) -> list[PhaseCosts]:
    return [
        PhaseCosts(
            phase=phase,
            seconds=one.seconds,
            energy_j=one.energy_j if one.metered else None,
            devices=one.devices,
            metered=one.metered,
        )
        for phase in PHASES
        if (one := sums.get(phase)) is not None
    ]
