"""Every setting of the server: flags, then environment (`EDGE_SDK_…`), then a TOML file."""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from edge_sdk.codecs import codec_from_spec
from edge_sdk.codecs.auto import auto_from_spec
from edge_sdk.codecs.rows import rows_codec
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.values import STRICT, CodecSpec, Memory, Seed, Stage, Way

Weighing = Literal["examples", "error", "equal"]
OptimizerName = Literal["fedavg", "momentum", "fedadam"]

ENV_PREFIX = "EDGE_SDK_"

MOST_STALENESS = 100
"""Logs of as many rounds may be open at once."""

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Terms:
    """What one round promises its devices; kept with the round, so a restart changes nothing."""

    cohort: Annotated[int, Field(ge=1, le=1_000_000)]
    min_updates: Annotated[int, Field(ge=1, le=1_000_000)]
    over_selection: Annotated[float, Field(ge=1, le=100)]
    deadline_s: Annotated[float, Field(gt=0, le=1e7)]
    codecs: Annotated[tuple[CodecSpec, ...], Field(min_length=1, max_length=16)]
    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch_size: Annotated[int, Field(ge=1, le=65536)]
    learning_rate: Annotated[float, Field(gt=0, le=1e3)]
    chunk_bytes: Annotated[int, Field(ge=512, le=2**24)]
    stage: Stage = 0
    least_stage: Stage | None = None
    warm_up: bool = False
    proximity: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    report_costs: bool = True
    memory: Memory = "none"
    memory_speed: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of Artemis memories; never None where there are any."""
    weighing: Weighing = "examples"
    aggregation: CodecSpec = "mean"
    shrink: bool = True
    optimizer: OptimizerName = "fedavg"
    server_learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    ways: Annotated[tuple[Way, ...], Field(min_length=1, max_length=2)] = ("full",)
    split_activations: CodecSpec | None = None
    split_gradients: CodecSpec = "eden:bits=4"
    split_correction: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    stage_quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_staleness: Annotated[int, Field(ge=1, le=MOST_STALENESS)] | None = None
    """None: a round. Else a buffer; see `server_ref.rounds.buffer`."""


class Settings(BaseSettings):
    """All settings.

    Every field is also a key of the TOML file and, in capitals behind `EDGE_SDK_`, an environment
    variable.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    plan: Path
    """Plan bundle to train."""
    state: Path
    """Folder that survives restarts; a second start with it continues the run. `digits.state`
    beside `digits.plan` where not given."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 takes any free port."""
    tls_cert: Path | None = None
    """Certificate chain, PEM."""
    tls_key: Path | None = None
    """Its private key, PEM."""
    insecure: bool = False
    """Listen beyond loopback without TLS."""
    announce: Path | None = None
    """Write address and tokens here as JSON, mode 0600, once listening; `join_token` is null when
    a run is taken up again."""

    rounds: Annotated[int, Field(ge=1, le=2**31)] = 10
    """Versions to publish before the run is finished, not counting those of warm-ups."""
    cohort: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Updates that close a round."""
    min_updates: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Fewest updates that make a version at the deadline; half the cohort where not given."""
    over_selection: Annotated[float, Field(ge=1, le=100)] = 1.0
    """Places per wanted update; above 1 the slowest devices are left behind."""
    round_deadline_s: Annotated[float, Field(gt=0, le=1e7)] = 600.0
    """From a round's first admission until it closes in any case."""
    pace_s: Annotated[float, Field(gt=0, le=86400)] = 5.0
    """Longest pause asked of a device while nothing better is known."""
    max_staleness: Annotated[int, Field(ge=0, le=MOST_STALENESS)] = 0
    """Above 0 the run is asynchronous: a version is made of every `cohort` updates that come, also
    of those trained from up to so many versions before."""

    codecs: Annotated[tuple[CodecSpec, ...], Field(min_length=1, max_length=16)] = ("eden:bits=2",)
    """Codecs taken from devices, preferred first."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 0.02
    """Small enough for quantised updates of few devices under momentum 0.9."""
    chunk_bytes: Annotated[int, Field(ge=512, le=2**24)] = 65536
    """Largest frame devices should send."""
    downlink_codec: CodecSpec = "float32"
    """Codec of what a version adds to the one before. With float32 or float16 each version is
    downloaded whole."""
    downlink_speed: Annotated[float, Field(gt=0, le=1)] | None = None
    """How much of what the codec carries is taken over; fitted to each version where not given."""
    keep_versions: Annotated[int, Field(ge=2, le=1_000_000)] = 50
    """Versions, counted from the newest, whose files are kept; devices further behind get a whole
    model."""
    keep_logs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Rounds that are over whose received chunks stay on disk, for whoever looks into them. Nothing
    needs them, and they are what single devices sent."""

    memory: Memory = "none"
    """What devices keep of their updates: `error-feedback` for biased codecs, `artemis` for
    unbiased ones where devices differ in their data."""
    memory_speed: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of Artemis memories; from the codecs' error where not given."""
    forget_after_rounds: Annotated[int, Field(ge=1, le=2**31)] | None = None
    """Rounds without an update after which a device's Artemis memory is dropped."""
    weighing: Weighing = "examples"
    """What updates count by: their examples, their examples over 1 + stated error, or one each."""
    aggregation: CodecSpec = "mean"
    """How updates are combined: `mean`, or one that a bad device cannot move far: `clip`,
    `clip:factor=2`, `median`, `trimmed:beta=0.1`, `krum:f=1`, `krum:f=1,pick=3`."""
    shrink: bool = True
    """Shrink a mean that is mostly coding noise."""
    optimizer: OptimizerName = "fedavg"
    """What the mean of a round does to the model."""
    server_learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 1.0
    server_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    proximity: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """FedProx's mu: devices are pulled towards the model they began with."""
    report_costs: bool = True
    """Ask devices what each phase of a round cost them, and how they are."""

    schedule: Literal["whole", "equal", "halved", "plateau"] | None = None
    """How a plan of several stages grows: not at all, its last stage from the first round on
    (`whole`); after equal shares of the rounds (`equal`); with half of such a share for each stage
    but the last, as ProgFed's authors do (`halved`); or sooner, when a stage no longer gains
    (`plateau`, which needs `evaluate`). Not given: `equal`, or `whole` where devices only train
    split."""
    warm_up_rounds: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Further rounds after each growth that train only what is new."""
    patience: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Rounds without a gain that make a plateau."""
    decay: Literal["none", "cosine"] = "none"
    """How the learning rate falls over the rounds."""
    least_stage: Stage | None = None
    """Smallest stage that a device may train instead of the round's; none where not given."""
    stage_quorum: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the cohort that trains the round's own stage, at least."""

    ways: Annotated[tuple[Way, ...], Field(min_length=1, max_length=2)] = ("full",)
    """How devices may train, preferred first: `full`, or `split` with this server, or either."""
    split_activations: CodecSpec | None = None
    """Codec of activations; a product quantizer of eight numbers and eight centroids where not
    given."""
    split_gradients: CodecSpec = "eden:bits=4"
    """Codec of the gradients that split devices get back."""
    split_correction: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """FedLite's lambda."""
    split_sessions: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Split sessions in memory at once, each with a copy of the server's part."""
    split_idle_s: Annotated[float, Field(gt=0, le=1e6)] = 120.0
    """A split session's connection that is silent for so long is closed; its work is kept."""
    evaluate: Path | None = None
    """npz with `x_test` and `y_test`: measure every version on it."""
    run_seed: Seed | None = None
    """Root of every random choice of a new run; drawn from the system where not given."""

    join_uses: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Devices the first join token admits; the cohort's size where not given."""
    join_expires_s: Annotated[float, Field(gt=0, le=1e9)] = 7 * 86400.0

    header_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 20.0
    """A connection that has not sent a whole request head by then is cut."""
    silence_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    """A body that stays silent this long, or an answer that nobody takes, is given up."""
    away_s: Annotated[float, Field(gt=0, le=86400)] = 30.0
    """When the server stops, devices are asked to come back after this long."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """`auto` is text on a terminal and JSON, a line for each record, elsewhere."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over environment, environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _state_beside_the_plan(cls, given: dict[str, object]) -> dict[str, object]:
        plan = given.get("plan")
        if "state" not in given and isinstance(plan, str | Path):
            return given | {"state": Path(plan).with_suffix(".state")}
        return given

    @field_validator("codecs", "downlink_codec")
    @classmethod
    def _known_codecs(cls, specs: str | tuple[str, ...]) -> str | tuple[str, ...]:
        """In the one spelling that frames are compared with."""
        try:
            if isinstance(specs, str):
                return codec_from_spec(specs).spec
            return tuple((auto_from_spec(spec) or codec_from_spec(spec)).spec for spec in specs)
        except (Misuse, Unsupported) as error:
            raise ValueError(str(error)) from None

    @field_validator("split_activations", "split_gradients")
    @classmethod
    def _known_rows_codecs(cls, spec: str | None) -> str | None:
        try:
            return None if spec is None else rows_codec(spec).spec
        except (Misuse, Unsupported) as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "split" in self.ways and self.memory == "artemis":
            raise ValueError("Artemis memories do not go with split learning")
        if self.least_updates > self.cohort:
            raise ValueError("min_updates is larger than cohort: no round could be published")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        if self.memory == "artemis":
            self._check_unbiased()
        if self.tls_cert is None and self.host not in LOOPBACK and not self.insecure:
            raise ValueError(
                f"refusing to listen on {self.host} without TLS: give tls_cert and tls_key, "
                "or insecure if something else encrypts"
            )
        return self

    def _check_unbiased(self) -> None:
        for spec in self.codecs:
            if auto_from_spec(spec) is None and not codec_from_spec(spec).unbiased:
                raise ValueError(
                    f"memory artemis needs unbiased codecs, {spec} is biased: error-feedback is "
                    "made for it"
                )

    @property
    def least_updates(self) -> int:
        """`min_updates`, or its default."""
        return self.min_updates or (self.cohort + 1) // 2

    def terms(self) -> Terms:
        """What the next round to open promises."""
        return Terms(
            cohort=self.cohort,
            min_updates=self.least_updates,
            over_selection=self.over_selection,
            deadline_s=self.round_deadline_s,
            codecs=self.codecs,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            chunk_bytes=self.chunk_bytes,
            proximity=self.proximity,
            report_costs=self.report_costs,
            memory=self.memory,
            memory_speed=self.memory_speed if self.memory == "artemis" else None,
            weighing=self.weighing,
            aggregation=self.aggregation,
            shrink=self.shrink,
            optimizer=self.optimizer,
            server_learning_rate=self.server_learning_rate,
            server_momentum=self.server_momentum,
            ways=self.ways,
            split_activations=self.split_activations,
            split_gradients=self.split_gradients,
            split_correction=self.split_correction,
            stage_quorum=self.stage_quorum,
            max_staleness=self.max_staleness or None,
        )


def load_settings(flags: dict[str, object], *, config: Path | None = None) -> Settings:
    """Settings from `flags` (those given), the environment and the TOML file `config`.

    Raises:
        Misuse: a key is unknown or a value outside its range; the text names all of them and, for
            an unknown key, the nearest right one.
    """
    if config is not None and not config.is_file():
        raise Misuse(f"no such file: {config}")
    _check_environment(os.environ)

    class FromFile(Settings):
        """Settings that also look into one TOML file."""

        model_config = SettingsConfigDict(toml_file=config)

    try:
        return FromFile(**flags)  # type: ignore[arg-type]  # checked by pydantic
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        if any(one["type"] == "missing" and one["loc"] == ("plan",) for one in problems):
            raise Misuse("no plan is given: name its file, here or as plan in --config") from None
        lines = [_sentence(one) for one in problems]
        raise Misuse("; ".join(lines).replace("Value error, ", "")) from None
    except tomllib.TOMLDecodeError as error:
        raise Misuse(f"{config} is no TOML: {error}") from None


def dump_settings(settings: Settings) -> str:
    """The settings in force as a TOML file that `load_settings` reads back.

    No setting is a secret: tokens are made by the server and stand in the state folder.
    """
    given = settings.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(given)


def nearest(key: str) -> str | None:
    """The setting most like a wrong key; None where none is."""
    found = difflib.get_close_matches(key.lower(), Settings.model_fields, n=1, cutoff=0.7)
    return found[0] if found else None


def _sentence(problem: ErrorDetails) -> str:
    where = ".".join(map(str, problem["loc"])) or "settings"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']}"
    meant = nearest(where)
    return f"{where}: no such setting" + (f"; did you mean {meant}?" if meant else "")


def _check_environment(environment: Mapping[str, str]) -> None:
    """Refuse a variable that is nearly a setting's; devices have others with the same prefix."""
    for name in environment:
        key = name.removeprefix(ENV_PREFIX).lower()
        if not name.startswith(ENV_PREFIX) or key in Settings.model_fields:
            continue
        meant = difflib.get_close_matches(key, Settings.model_fields, n=1, cutoff=0.85)
        if meant:
            raise Misuse(f"{name}: no such setting; did you mean {ENV_PREFIX}{meant[0].upper()}?")
