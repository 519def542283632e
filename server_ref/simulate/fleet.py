"""`FLEET.toml`: which devices there are, what they hold, and what the server wants of them."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from edge_sdk.errors import Misuse
from edge_sdk.values import CodecSpec, Seed
from server_ref.settings import Settings
from server_ref.simulate.power import BOARDS

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e12)]
Hours = Annotated[float, Field(ge=0, le=24)]

NOT_SETTABLE = frozenset(
    {"plan", "state", "host", "port", "tls_cert", "tls_key", "insecure", "announce", "evaluate"}
    | {"rounds", "run_seed", "join_uses", "join_expires_s", "log_format", "log_level"}
)
"""Settings of the server that mean nothing here, or are said elsewhere in the file."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelTable(_Table):
    """A model of the zoo, made into a plan."""

    architecture: str
    """Name in the zoo, e.g. `cnn`."""
    input_shape: tuple[int, ...]
    """Of one example, without the batch axis."""
    classes: Annotated[int, Field(ge=1)]
    scale: float | None = None
    """Factor on the raw values; the model's own where not given."""
    mean: float | None = None
    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    momentum: float | None = 0.9
    stages: int | Literal["auto"] = 1
    seed: int = 0


class DataTable(_Table):
    """What the devices hold and what versions are measured on."""

    file: Path
    """`.npz` with `x_train, y_train, x_test, y_test` and, to be dealt by user, `user_train`."""
    partition: Literal["user", "even", "dirichlet"] = "user"
    """`user`: a person for each device; more devices than people share a person's examples.
    `even`: dealt out at random. `dirichlet`: each class in shares from Dirichlet(`alpha`)."""
    alpha: Positive = 0.5
    least_examples: Annotated[int, Field(ge=1)] = 1
    """People with fewer are left out."""
    test_examples: Annotated[int, Field(ge=1)] | None = None
    """Drawn from the test split; all of it where not given."""


class LinkTable(_Table):
    """A link."""

    up_kbit_s: Positive
    down_kbit_s: Positive | None = None
    """As up where not given."""
    delay_ms: Annotated[float, Field(ge=0, le=60_000)] = 20.0
    """One way."""
    loss: Annotated[float, Field(ge=0, le=0.9)] = 0.0
    """Share of packets lost, each way."""
    radio: Literal["ethernet", "wifi", "cellular", "other"] = "ethernet"
    """Whose joules per byte count."""
    metered: bool = False
    trace: tuple[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], ...] = ()
    """Pairs of second and factor on the rate from then on; 0 is an outage."""
    trace_ways: tuple[Literal["up", "down"], ...] = ("up", "down")
    """Which ways the trace's factors hold for."""
    trace_period_s: Positive | None = None
    """Begin the trace again after so long."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        times = [at_s for at_s, _ in self.trace]
        if times != sorted(set(times)):
            raise ValueError("the seconds of a trace must rise")
        if self.trace_period_s is not None and times and self.trace_period_s <= times[-1]:
            raise ValueError("trace_period_s must be beyond the trace's last second")
        return self


class BatteryTable(_Table):
    """A battery."""

    capacity_wh: Positive
    charge: Share = 1.0
    """Share of full at the start."""
    charge_w: Positive = 5.0
    charging_hours: tuple[tuple[Hours, Hours], ...] = ()
    """Hours of the day on the charger, e.g. `[[22, 6]]`; the run begins at midnight."""


class PowerTable(_Table):
    """Watts, instead of the board's."""

    idle_w: Annotated[float, Field(ge=0)]
    busy_w: Annotated[float, Field(ge=0)]
    sleep_w: Annotated[float, Field(ge=0)] = 0.0
    """Drawn from the battery between turns; not counted as the federation's."""


class PolicyTable(_Table):
    """Who decides on the device."""

    kind: Literal["fixed", "budget"] = "fixed"
    codec: CodecSpec | None = None
    """Of `fixed`: the codec to insist on; the server's first where not given."""
    epochs: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Of `fixed`: passes over the data; the server's where not given."""
    thrift: Share = 0.5
    """Of `budget`: 0 for the fewest rounds, 1 for the fewest joules."""


class GroupTable(_Table):
    """Devices of one kind."""

    name: str
    count: Annotated[int, Field(ge=0)] | None = None
    share: Share | None = None
    """Of the top's `devices`; give this or `count`."""
    board: str = "raspberry-pi-4"
    """Whose watts count; see `power`."""
    power: PowerTable | None = None
    examples_per_s: Positive
    """How fast it trains the whole model."""
    link: LinkTable
    battery: BatteryTable | None = None
    policy: PolicyTable = PolicyTable()
    vary: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Rate and speed of each device are drawn from this share around the group's."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.count is None) == (self.share is None):
            raise ValueError("give either count or share")
        if self.power is None and self.board not in BOARDS:
            raise ValueError(
                f"no board {self.board!r}; there are {', '.join(BOARDS)}: or give power"
            )
        return self


class Fleet(_Table):
    """The whole file."""

    seed: Seed = 0
    rounds: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    devices: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """What groups' shares are shares of."""
    target_accuracy: Share | None = None
    """Stop once a version reaches it."""
    longest_s: Positive = 30 * 86_400.0
    """Stop after so much virtual time."""
    plan: Path | None = None
    """Plan bundle; give this or `[model]`."""
    stage_speed: tuple[Positive, ...] = ()
    """Share of the whole model's step time that each stage takes; by default stage i of n takes
    (i + 1) / n, as stages cut by compute do."""
    model: ModelTable | None = None
    data: DataTable
    server: Mapping[str, object] = {}
    """Any of the server's settings that matter here."""
    group: Annotated[tuple[GroupTable, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.plan is None) == (self.model is None):
            raise ValueError("give either plan or [model]")
        if self.devices is None and any(group.share is not None for group in self.group):
            raise ValueError("shares need `devices`, the size of the fleet")
        for key in self.server:
            if key in NOT_SETTABLE or key not in Settings.model_fields:
                raise ValueError(f"server.{key}: no such setting here{_hint(key, _settable())}")
        return self

    def counts(self) -> tuple[int, ...]:
        """Devices of each group; shares are rounded so that they add up as well as they can."""
        counts: list[int] = []
        owed = 0.0
        for group in self.group:
            if group.count is not None:
                counts.append(group.count)
                continue
            exact = (group.share or 0.0) * (self.devices or 0) + owed
            counts.append(round(exact))
            owed = exact - counts[-1]
        return tuple(counts)


def load_fleet(path: Path) -> Fleet:
    """Read a fleet; paths in it are relative to the file.

    Raises:
        Misuse: no such file, no TOML, or a key or value is wrong; the text names all of them and,
            for an unknown key, the nearest right one.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misuse(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"{path} is no TOML: {error}") from None
    fleet = checked_fleet(given)
    base = path.parent
    data = fleet.data.model_copy(update={"file": base / fleet.data.file})
    plan = None if fleet.plan is None else base / fleet.plan
    return fleet.model_copy(update={"data": data, "plan": plan})


def checked_fleet(given: Mapping[str, object]) -> Fleet:
    """A fleet from a mapping like the file's.

    Raises:
        Misuse: as in `load_fleet`.
    """
    try:
        return Fleet.model_validate(given)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise Misuse("; ".join(map(_sentence, problems))) from None


_TABLES: Mapping[str, type[_Table]] = {
    "model": ModelTable,
    "data": DataTable,
    "group": GroupTable,
    "link": LinkTable,
    "battery": BatteryTable,
    "power": PowerTable,
    "policy": PolicyTable,
}


def _sentence(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"])) or "fleet"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    *parents, key = problem["loc"]
    tables = [_TABLES[str(one)] for one in parents if str(one) in _TABLES]
    known = (tables[-1] if tables else Fleet).model_fields
    return f"{where}: no such key{_hint(str(key), list(known))}"


def _hint(key: str, known: list[str]) -> str:
    meant = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"; did you mean {meant[0]}?" if meant else f"; there are {', '.join(sorted(known))}"


def _settable() -> list[str]:
    return [name for name in Settings.model_fields if name not in NOT_SETTABLE]
