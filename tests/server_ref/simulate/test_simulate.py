"""Whole runs in virtual time: repeatable, on the real protocol, and honest about who was late."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.cli.command import main
from edge_sdk.plan import Plan
from server_ref.simulate.federation import simulate
from server_ref.simulate.fleet import Fleet, checked_fleet
from server_ref.simulate.outcome import Outcome, dump_outcome
from server_ref.simulate.report import closing_lines, group_rows, round_rows

DIGITS = Path(__file__).parents[3] / "rpi_demo" / "digits.npz"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(
        zoo.mlp((64,), 10, hidden=(16,), scale=1 / 16),
        loss="cross-entropy",
        momentum=0.9,
        name="digits",
    )


def fleet(*groups: dict[str, Any], server: dict[str, object] | None = None, **top: object) -> Fleet:
    given: dict[str, object] = {
        "plan": "given",
        "seed": 3,
        "rounds": 2,
        "data": {"file": str(DIGITS), "partition": "even", "test_examples": 100},
        "server": {
            "cohort": 3,
            "min_updates": 1,
            "round_deadline_s": 60.0,
            "learning_rate": 0.05,
            "codecs": ("eden:bits=2", "float32"),
            "pace_s": 1.0,
        }
        | (server or {}),
        "group": groups,
    }
    return checked_fleet(given | top)


def group(name: str = "pi", count: int = 4, **changes: object) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": name,
        "count": count,
        "examples_per_s": 100.0,
        "link": {"up_kbit_s": 1000.0, "delay_ms": 30.0, "loss": 0.02, "radio": "wifi"},
    }
    return given | changes


def endings(outcome: Outcome, name: str) -> set[str]:
    return {one.ending for one in outcome.participations if one.group == name}


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(plan: Plan) -> None:
    one = dump_outcome(simulate(fleet(group()), plan))
    assert dump_outcome(simulate(fleet(group()), plan)) == one
    assert dump_outcome(simulate(fleet(group(), seed=4), plan)) != one


def test_a_run_trains_and_counts_what_it_spent(plan: Plan) -> None:
    seen: list[int] = []
    outcome = simulate(
        fleet(group(), rounds=4), plan, on_round=lambda record: seen.append(record.round.round)
    )
    assert seen == [1, 2, 3, 4]
    assert outcome.accuracy is not None
    assert outcome.accuracy > 0.4
    counted = [one for one in outcome.participations if one.ending == "counted"]
    assert all(one.bits is not None and 2 < one.bits < 3.5 for one in counted)
    assert all(one.energy_j > 0 and one.ended_s > one.began_s for one in counted)
    # A model of 1,210 parameters in float32, and at least that for each device and round.
    assert outcome.bytes_down > 4 * 1210 * len(counted) * 0.9
    assert outcome.rounds[-1].wire_bytes > outcome.bytes_up + outcome.bytes_down
    energies = [record.energy_j for record in outcome.rounds]
    assert energies == sorted(energies)


def test_steps_take_scripted_time(plan: Plan) -> None:
    def seconds(examples_per_s: float) -> float:
        outcome = simulate(fleet(group(examples_per_s=examples_per_s), rounds=1), plan)
        counted = [one for one in outcome.participations if one.ending == "counted"]
        return min(one.ended_s - one.began_s for one in counted)

    # 1,438 images on four devices: 359 each, in 12 steps of 32.
    assert seconds(100.0) - seconds(1000.0) == pytest.approx(
        12 * 32 * (1 / 100 - 1 / 1000), rel=0.3
    )


def test_who_has_no_link_for_the_update_is_late_and_the_others_go_on(plan: Plan) -> None:
    slow = group("slow", 1, link={"up_kbit_s": 0.5, "down_kbit_s": 1000.0, "delay_ms": 30.0})
    outcome = simulate(fleet(group(), slow, server={"cohort": 5, "codecs": ("float32",)}), plan)
    assert [record.round.state for record in outcome.rounds] == ["published"] * 2
    assert "counted" not in endings(outcome, "slow")
    assert "late" in endings(outcome, "slow")
    assert endings(outcome, "pi") <= {"counted", "open"}
    assert outcome.missed >= 1


def test_who_trains_too_slowly_sends_what_it_has(plan: Plan) -> None:
    slow = group("slow", 1, examples_per_s=4.0)
    outcome = simulate(fleet(group(), slow, server={"cohort": 5}), plan)
    assert endings(outcome, "slow") <= {"counted", "open"}


def test_an_outage_is_waited_out(plan: Plan) -> None:
    out = group(link={"up_kbit_s": 1000.0, "trace": [[0, 0.0], [500, 1.0]]})
    outcome = simulate(fleet(out), plan)
    assert outcome.rounds[0].at_s > 500
    assert [record.round.state for record in outcome.rounds] == ["published"] * 2


def test_an_empty_battery_takes_no_part_until_it_is_charged(plan: Plan) -> None:
    flat = group("flat", 1, battery={"capacity_wh": 1.0, "charge": 0.0, "charging_hours": [[1, 2]]})
    outcome = simulate(fleet(group(), flat), plan)
    assert endings(outcome, "flat") == set()
    only = simulate(fleet(flat, server={"cohort": 1}), plan)
    assert only.rounds[0].at_s > 3600


def test_a_run_stops_at_its_target(plan: Plan) -> None:
    outcome = simulate(fleet(group(), rounds=50, target_accuracy=0.3), plan)
    assert outcome.reached
    assert len(outcome.rounds) < 50
    assert any("reached" in line for line in closing_lines(outcome))


def test_a_run_that_cannot_go_on_ends_when_its_time_is_up(plan: Plan) -> None:
    never = group(link={"up_kbit_s": 1000.0, "trace": [[0, 0.0]]})
    outcome = simulate(fleet(never, longest_s=5000.0), plan)
    assert outcome.rounds == ()
    assert outcome.accuracy is None
    assert outcome.seconds >= 5000


def test_tables_have_a_line_for_every_round_and_group(plan: Plan) -> None:
    outcome = simulate(fleet(group("a", 2), group("b", 2)), plan)
    assert [row[0] for row in round_rows(outcome)] == ["1", "2"]
    assert [row[0] for row in group_rows(outcome)] == ["a", "b"]


def test_the_command_prints_writes_and_draws(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: Plan
) -> None:
    (tmp_path / "digits.plan").write_bytes(plan.data)
    (tmp_path / "small.toml").write_text(
        'plan = "digits.plan"\n'
        f'data = {{ file = "{DIGITS}", partition = "even" }}\n'
        "server = { cohort = 2, round_deadline_s = 60.0 }\n"
        "[[group]]\n"
        'name = "pi"\ncount = 3\nexamples_per_s = 100\nlink = { up_kbit_s = 1000 }\n'
    )
    json_file, plot_file = tmp_path / "run.json", tmp_path / "run.png"
    arguments = ["simulate", str(tmp_path / "small.toml"), "--rounds", "1"]
    assert main([*arguments, "--json", str(json_file), "--plot", str(plot_file)]) == 0
    assert "virtual time" in capsys.readouterr().out
    assert len(json.loads(json_file.read_text())["rounds"]) == 1
    assert plot_file.read_bytes().startswith(b"\x89PNG")
    assert main(["simulate", str(tmp_path / "none.toml")]) == 1
    assert "misuse" in capsys.readouterr().err


@pytest.mark.slow
def test_a_thousand_devices_of_which_twenty_work(plan: Plan) -> None:
    outcome = simulate(fleet(group(count=1000), server={"cohort": 20, "pace_s": 20.0}), plan)
    assert [record.round.committed for record in outcome.rounds] == [20, 20]
