"""How long a run takes with stragglers: rounds that wait, that leave behind, that cut, and buffers.

    python -m benchmarks.asynchronous [--quick] [--json FILE]

A simulated fleet (`server_ref.simulate`, virtual time) learns the bundled digits; a quarter of the
devices are twenty times slower and hold as good a share of the data as the others. Every way makes
the same number of versions of the same number of updates. JSON: `seconds.<way>`,
`accuracy.<way>`, `slow_share.<way>` (of the counted updates, those of slow devices).
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server_ref.simulate.federation import simulate
from server_ref.simulate.fleet import checked_fleet
from server_ref.simulate.plans import plan_of

DEVICES = 20
SLOW = 5
COHORT = 10
ROUNDS = 30
QUICK_ROUNDS = 6

WAYS: dict[str, dict[str, Any]] = {
    "wait for all": {"over_selection": 1.0, "round_deadline_s": 600},
    "over-selection 1.5": {"over_selection": 1.5, "round_deadline_s": 600},
    "asynchronous": {"over_selection": 2.0, "round_deadline_s": 600, "max_staleness": 20},
}


@dataclass(frozen=True)
class Row:
    """What one way gave."""

    way: str
    seconds: float
    accuracy: float | None
    slow_share: float


def measure(way: str, *, rounds: int, seed: int = 1) -> Row:
    """One simulated run."""
    fleet = checked_fleet(
        {
            "seed": seed,
            "rounds": rounds,
            "model": {"architecture": "mlp", "input_shape": [64], "classes": 10, "scale": 0.0625},
            "data": {"file": "rpi_demo/digits.npz", "partition": "even"},
            "server": {
                "cohort": COHORT, "learning_rate": 0.05, "pace_s": 1, "batch_size": 16,
                "report_costs": False, **WAYS[way],
            },
            "group": [_group("fast", DEVICES - SLOW, 400), _group("slow", SLOW, 20)],
        }
    )  # fmt: skip
    outcome = simulate(fleet, plan_of(fleet))
    counted = [one for one in outcome.participations if one.ending == "counted"]
    slow = [one for one in counted if one.group == "slow"]
    return Row(way, outcome.seconds, outcome.accuracy, len(slow) / max(len(counted), 1))


def _group(name: str, count: int, examples_per_s: float) -> dict[str, Any]:
    return {
        "name": name, "count": count, "examples_per_s": examples_per_s, "vary": 0.3,
        "policy": {"kind": "fixed", "codec": "eden:bits=2"},
        "link": {"up_kbit_s": 1000, "delay_ms": 30, "radio": "wifi"},
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.asynchronous", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} versions")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    rows = [measure(way, rounds=rounds) for way in WAYS]
    print(f"{rounds} versions of {COHORT} updates; {SLOW} of {DEVICES} devices slow")
    print("way                  virtual s  accuracy  updates of slow devices")
    for row in rows:
        accuracy = "unknown" if row.accuracy is None else f"{row.accuracy:.3f}"
        print(f"{row.way:20} {row.seconds:9.0f}  {accuracy:>8}  {row.slow_share:.1%}")
    if options.json is not None:
        figures = {
            f"{name}.{row.way}": getattr(row, name)
            for row in rows
            for name in ("seconds", "accuracy", "slow_share")
        }
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
