"""What a run says to people: lines of a table."""

from collections.abc import Iterable, Sequence

from server_ref.simulate.outcome import MISSED, Outcome, Participation, RoundRecord

ROUND_HEADS = (
    "round", "time", "accuracy", "loss", "counted", "missed", "sat out", "bits", "stages",
    "MB up", "MB down", "kJ",
)  # fmt: skip

GROUP_HEADS = (
    "group", "devices", "tasks", "counted", "missed", "sat out", "bits", "MB up", "J per task",
)  # fmt: skip


def round_row(record: RoundRecord, of_round: Sequence[Participation]) -> list[str]:
    """One round; bytes and joules are those of the fleet up to its end."""
    round_ = record.round
    return [
        str(round_.round),
        duration(record.at_s),
        "" if round_.accuracy is None else f"{round_.accuracy:.4f}",
        "abandoned" if round_.loss is None else f"{round_.loss:.4f}",
        str(round_.committed + round_.partial),
        str(sum(one.ending in MISSED for one in of_round)),
        str(sum(one.ending == "sat-out" for one in of_round)),
        _number(_mean(one.bits for one in of_round)),
        " ".join(str(stage) for stage in sorted({o.stage for o in of_round if o.codec})),
        f"{round_.bytes_up / 1e6:.3f}",
        f"{round_.bytes_down / 1e6:.3f}",
        f"{record.energy_j / 1e3:.3f}",
    ]


def round_rows(outcome: Outcome) -> list[list[str]]:
    """Every round."""
    by_round: dict[int, list[Participation]] = {}
    for one in outcome.participations:
        by_round.setdefault(one.round, []).append(one)
    return [round_row(record, by_round.get(record.round.round, [])) for record in outcome.rounds]


def group_rows(outcome: Outcome) -> list[list[str]]:
    """What became of each group's tasks."""
    rows: list[list[str]] = []
    for group in dict.fromkeys(sorted(one.group for one in outcome.participations)):
        own = [one for one in outcome.participations if one.group == group]
        sent = sum(one.update_bytes or 0 for one in own)
        rows.append(
            [
                group,
                str(len({one.device for one in own})),
                str(len(own)),
                str(sum(one.ending == "counted" for one in own)),
                str(sum(one.ending in MISSED for one in own)),
                str(sum(one.ending == "sat-out" for one in own)),
                _number(_mean(one.bits for one in own)),
                f"{sent / 1e6:.3f}",
                _number(_mean(one.energy_j for one in own if one.ending != "open")),
            ]
        )
    return rows


def closing_lines(outcome: Outcome) -> list[str]:
    """The run in two or three sentences."""
    target = outcome.target_accuracy
    accuracy = "unknown" if outcome.accuracy is None else f"{outcome.accuracy:.4f}"
    lines = [
        f"{outcome.devices} devices, {len(outcome.rounds)} rounds in {duration(outcome.seconds)} "
        f"of virtual time; accuracy {accuracy}",
        f"{outcome.bytes_up / 1e6:.3f} MB up, {outcome.bytes_down / 1e6:.3f} MB down, "
        f"{outcome.energy_j / 1e3:.3f} kJ by the power model, {outcome.missed} tasks missed "
        "their deadline",
    ]
    if target is not None:
        lines.append(f"target {target:g}: {'reached' if outcome.reached else 'not reached'}")
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, columns under each other, all but the first to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"


def _mean(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
