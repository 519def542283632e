"""A plan as text: layers, stages, split, bytes for each round, time and memory of a step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod

from edge_sdk.cli.plan_measure import Measured
from edge_sdk.plan import Plan, Split
from edge_sdk.values import Parameter

RATES_BITS = (32, 8, 4, 2, 1, 0.1)
"""Rates for which the table states bytes."""

MOST_LAYERS = 24
"""Longer lists of layers are gathered by a shorter part of their names."""

Measure = Callable[[int, bool], Measured | str]
"""From stage and whether its warm-up is meant."""


MeasureSplit = Callable[[], Measured | str]
"""Of the device's parts."""


def describe(
    plan: Plan, measure: Measure | None = None, measure_split: MeasureSplit | None = None
) -> list[str]:
    """Lines to print.

    Args:
        plan: what is described.
        measure: gives a step's time and memory; None leaves those columns out.
        measure_split: the same of the device's parts of a split; None leaves that line out.
    """
    return [
        f"plan    {plan.name}  {plan.digest[:12]}  {len(plan.data):,} bytes",
        f"trains  {plan.manifest.loss}, {plan.manifest.optimizer}",
        f"input   {plan.input.name} {plan.input.dtype} {plan.input.shape}",
        f"target  {plan.target.name} {plan.target.dtype} {plan.target.shape}",
        "",
        *_layers(plan),
        "",
        *_stages(plan, measure),
        *(["", *_split(plan.split, measure_split)] if plan.split else []),
    ]


def _layers(plan: Plan) -> list[str]:
    """Parameters by layer, and from which stage to which each is trained."""
    by_stage = [{p.name for p in plan.layout(stage).parameters} for stage in range(plan.stages)]
    rows = []
    for name, members in _layer_names(plan.manifest.layout.parameters).items():
        inside = [s for s, held in enumerate(by_stage) if held & {p.name for p in members}]
        size = sum(parameter.size for parameter in members)
        span = f"{inside[0]}-{inside[-1]}" if len(inside) > 1 else "".join(map(str, inside))
        rows.append([name, f"{len(members)}", f"{size:,}", span])
    head = ["layer", "tensors", "parameters", "stages"]
    return aligned([row[: 3 if plan.stages == 1 else 4] for row in [head, *rows]])


def _layer_names(parameters: Sequence[Parameter]) -> dict[str, list[Parameter]]:
    """Parameters by the part of their name in front, as much of it as keeps the list short."""
    deepest = max((p.name.count(".") for p in parameters), default=0)
    grouped: dict[str, list[Parameter]] = {}
    for depth in range(max(deepest, 1), 0, -1):
        grouped = {}
        for parameter in parameters:
            parts = parameter.name.split(".")
            grouped.setdefault(".".join(parts[: max(1, min(depth, len(parts) - 1))]), []).append(
                parameter
            )
        if len(grouped) <= MOST_LAYERS:
            break
    return grouped


def _stages(plan: Plan, measure: Measure | None) -> list[str]:
    """Sizes and costs of each stage and warm-up."""
    head = ["stage", "up to", "parameters", *(f"{bits:g} bit" for bits in RATES_BITS)]
    head += ["ms/step", "peak MB"] if measure else []
    rows, notes = [head], []
    for stage, warm_up in _ways(plan):
        size = plan.trained(stage, warm_up=warm_up).size
        name = "(its newest block)" if warm_up else plan.manifest.stages[stage].name
        row = [f"{stage}{'w' if warm_up else ''}", name, f"{size:,}"]
        row += [_bytes(size * bits / 8) for bits in RATES_BITS]
        found = measure(stage, warm_up) if measure else None
        if isinstance(found, Measured):
            peak = "-" if found.peak_mb is None else f"{found.peak_mb:.0f}"
            row += [f"{found.ms:.3g}", peak]
        elif found is not None:
            row += ["-", "-"]
            notes.append(f"stage {row[0]} was not measured: {found}")
        rows.append(row)
    return ["bytes up for each round, by bits for each parameter", *aligned(rows), *notes]


def _ways(plan: Plan) -> Iterable[tuple[int, bool]]:
    for stage in range(plan.stages):
        if plan.has_warm_up(stage):
            yield stage, True
        yield stage, False


def _split(split: Split, measure: MeasureSplit | None) -> list[str]:
    """Who runs what, and what crosses each cut."""
    rows = [["part", "runs on", "parameters"]]
    for part in range(split.parts):
        place = "server" if part == 1 else "device"
        rows.append([str(part), place, f"{split.layout(part).size:,}"])
    cuts = [
        f"split at {cut.name} {cut.shape}: {_bytes(4 * prod(cut.shape))} each way for an example"
        for cut in split.cuts
    ]
    return [*cuts, *aligned(rows), *([_of_device(measure())] if measure else [])]


def _of_device(found: Measured | str) -> str:
    if isinstance(found, str):
        return f"the device's parts were not measured: {found}"
    peak = "" if found.peak_mb is None else f", peak {found.peak_mb:.0f} MB"
    return f"the device's parts take {found.ms:.3g} ms/step{peak}; quantizing not included"


def _bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} B"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = [
        not any(row[at][:1].isdigit() for row in rows[1:]) or at == 0 for at in range(len(widths))
    ]
    lines = []
    for row in rows:
        cells: Mapping[bool, Callable[[str, int], str]] = {True: str.ljust, False: str.rjust}
        lines.append(
            "  ".join(
                cells[is_left](cell, width)
                for cell, width, is_left in zip(row, widths, left, strict=True)
            ).rstrip()
        )
    return lines
