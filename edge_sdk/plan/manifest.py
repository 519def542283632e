"""The manifest: what a plan says of itself, as strict bounded data. Read it top down.

Format `edge-sdk-plan`. A reader refuses versions it does not know and unknown fields. Version 2
added warm-ups and the split. A plan without either is still written as version 1, byte for byte, so
readers of version 1 refuse only what they cannot do. Fields that version 1 lacks are left out where
they are empty.

The plan holds one list of parameters, in layout order; each stage, and each part of a split, trains
some of them, named by their positions in that list. Stages grow: the last trains the whole model,
earlier ones its first blocks under a temporary head, whose weights stand in the list as well.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_serializer,
)
from pydantic import model_validator as checked
from pydantic.dataclasses import dataclass

from edge_sdk.errors import Corrupt, TooLarge, Unsupported
from edge_sdk.plan.conventions import CORRECT, COTANGENT_SUFFIX, LEARNING_RATE, LOSS, NEW_SUFFIX
from edge_sdk.values import STRICT, Count, Digest, Layout, Parameter, ShortText

FORMAT = "edge-sdk-plan"
VERSIONS = (1, 2)
"""Versions that are read."""

MANIFEST = "manifest.json"
WEIGHTS = "weights.f32"
"""Member with the initial weights: little-endian float32, layout order, nothing else."""

MAX_MANIFEST_BYTES = 4 << 20
MAX_PARAMETERS = 1 << 28
"""Most trainable scalars in one plan: 1 GiB of float32."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Dimension = Annotated[int, Field(ge=0, le=2**31 - 1)]
Shape = Annotated[tuple[Dimension, ...], Field(max_length=8)]
DType = Literal[
    "float32", "float16", "uint8", "int8", "uint16", "int16", "int32", "int64", "bool", "float64"
]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TensorSpec:
    """A tensor the device feeds: input or target."""

    name: Name
    dtype: DType
    """Numpy's name of the element type."""
    shape: Shape
    """Without the batch axis, which comes first."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class NamedShape:
    """A parameter or a state tensor; always float32."""

    name: Name
    shape: Shape


Positions = Annotated[tuple[Count, ...], Field(max_length=65_536)]
"""Positions in the plan's parameter list, rising."""

StateShapes = Annotated[tuple[NamedShape, ...], Field(max_length=65_536)]
"""Optimizer state; zero at the start."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class PartSpec:
    """What one graph trains and carries."""

    parameters: Positions
    state: StateShapes = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class StageSpec:
    """One way to train the model, or a part of it."""

    name: ShortText
    parameters: Positions
    state: StateShapes = ()
    warm_up: PartSpec | None = None
    """What the stage's warm-up graph trains: some of the stage's parameters, the others are fed and
    stay. None where there is no such graph."""

    @model_serializer(mode="wrap")
    def _brief(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_empty(write(self), "warm_up")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SplitSpec:
    """The whole model as a chain of parts that run in different places.

    Part 0 reads the plan's input, part i the cut i - 1; the last part holds the loss. Of two parts
    the device runs the first and the server the second. Of three the device runs first and last,
    so that targets never leave it, and the server the middle.
    """

    cuts: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=2)]
    """Tensors handed from part to part."""
    parts: Annotated[tuple[PartSpec, ...], Field(min_length=2, max_length=3)]
    kept: Annotated[tuple[Count, ...], Field(min_length=2, max_length=3)] | None = None
    """Numbers that the graphs write for each example, of each part's forward pass: an upper
    estimate of what it keeps for its backward pass. None where the author did not tell."""

    @model_serializer(mode="wrap")
    def _brief(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_empty(write(self), "kept")


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Member:
    """Size and SHA-256 of one other file of the bundle."""

    name: ShortText
    size: Count
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Manifest:
    """All a device needs to know before it opens a graph."""

    format: Literal["edge-sdk-plan"] = "edge-sdk-plan"
    version: Literal[1, 2] = 1
    name: ShortText
    """For people."""
    loss: ShortText
    """What is minimised, e.g. `cross-entropy`."""
    optimizer: ShortText
    """The update rule inside the train graph, e.g. `sgd:momentum=0.9`."""
    classes: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Number of classes that targets may name; None where they name none, or one more to ignore."""
    input: TensorSpec
    target: TensorSpec
    parameters: Annotated[tuple[NamedShape, ...], Field(max_length=65_536)]
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1, max_length=255)]
    split: SplitSpec | None = None
    members: Annotated[tuple[Member, ...], Field(max_length=1023)]
    """Every other file of the bundle, in the bundle's order."""

    @checked(mode="after")
    def _consistent(self) -> Self:
        if sum(math.prod(parameter.shape) for parameter in self.parameters) > MAX_PARAMETERS:
            raise ValueError(f"more than {MAX_PARAMETERS} trainable parameters")
        if len({parameter.name for parameter in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter stands twice")
        if [member.name for member in self.members] != member_names(self.stages, self.split):
            raise ValueError("members are not those of the stages and parts, in order")
        if self.version != version_of(self.stages, self.split):
            raise ValueError("version is not the first that knows what the plan holds")
        for stage in self.stages:
            self._check_stage(stage)
        if self.split:
            self._check_split(self.split)
        return self

    def _check_stage(self, stage: StageSpec) -> None:
        fed = (self.input.name, self.target.name)
        self._check_part(stage.parameters, stage.state, fed)
        if stage.warm_up:
            self._check_part(stage.warm_up.parameters, stage.warm_up.state, fed)
            if not set(stage.warm_up.parameters) <= set(stage.parameters):
                raise ValueError("a warm-up trains what its stage does not")

    def _check_split(self, split: SplitSpec) -> None:
        if len(split.parts) != len(split.cuts) + 1:
            raise ValueError("a split has one part more than cuts")
        if split.kept is not None and len(split.kept) != len(split.parts):
            raise ValueError("a split tells what each of its parts keeps, or of none")
        trained = [position for part in split.parts for position in part.parameters]
        if len(set(trained)) < len(trained):
            raise ValueError("two parts of a split train one parameter")
        fed = (self.input.name, self.target.name, *(cut.name for cut in split.cuts))
        for part in split.parts:
            self._check_part(part.parameters, part.state, fed)

    def _check_part(
        self, positions: tuple[int, ...], state: tuple[NamedShape, ...], fed: tuple[str, ...]
    ) -> None:
        if any(a >= b for a, b in itertools.pairwise(positions)):
            raise ValueError("a stage's parameters must rise")
        if positions and positions[-1] >= len(self.parameters):
            raise ValueError("a stage names a parameter that is not there")
        names = [*fed, LEARNING_RATE, LOSS, CORRECT]
        names += [self.parameters[i].name for i in positions]
        names += [tensor.name for tensor in state]
        ours = (NEW_SUFFIX, COTANGENT_SUFFIX)
        if len(set(names)) < len(names) or any(name.endswith(ours) for name in names):
            raise ValueError("tensor names clash")

    @model_serializer(mode="wrap")
    def _brief(self, write: SerializerFunctionWrapHandler) -> dict[str, object]:
        return _without_empty(write(self), "split")

    @property
    def layout(self) -> Layout:
        """All parameters of the plan."""
        return Layout(tuple(Parameter(p.name, p.shape) for p in self.parameters))


def train_member(stage: int) -> str:
    """File name of a stage's train graph."""
    return f"stage{stage}-train.onnx"


def evaluate_member(stage: int) -> str:
    """File name of a stage's evaluation graph."""
    return f"stage{stage}-evaluate.onnx"


def warm_up_member(stage: int) -> str:
    """File name of a stage's warm-up graph."""
    return f"stage{stage}-warm-up.onnx"


def forward_member(part: int) -> str:
    """File name of a part's forward graph."""
    return f"part{part}-forward.onnx"


def backward_member(part: int) -> str:
    """File name of a part's backward graph."""
    return f"part{part}-backward.onnx"


def step_member(part: int) -> str:
    """File name of the last part's training step."""
    return f"part{part}-step.onnx"


def member_names(stages: Sequence[StageSpec], split: SplitSpec | None) -> list[str]:
    """Files beside the manifest, in the bundle's order."""
    names: list[str] = []
    for number, stage in enumerate(stages):
        names += [train_member(number), evaluate_member(number)]
        names += [warm_up_member(number)] if stage.warm_up else []
    if split:
        last = len(split.parts) - 1
        for part in range(last):
            names += [forward_member(part), backward_member(part)]
        names.append(step_member(last))
    return [*names, WEIGHTS]


def version_of(stages: Sequence[StageSpec], split: SplitSpec | None) -> Literal[1, 2]:
    """The first version that knows these."""
    return 2 if split or any(stage.warm_up for stage in stages) else 1


def _without_empty(fields: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in fields.items() if key != name or value is not None}


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(strict=True, extra="ignore"))
class _Label:
    """The two fields every version has."""

    format: str
    version: int


_LABEL = TypeAdapter(_Label)
_MANIFEST = TypeAdapter(Manifest)


def dump_manifest(manifest: Manifest) -> bytes:
    """Indented UTF-8 JSON, fields in the order of the class."""
    return _MANIFEST.dump_json(manifest, indent=1) + b"\n"


def load_manifest(body: bytes) -> Manifest:
    """Read and check a manifest.

    Raises:
        TooLarge: over `MAX_MANIFEST_BYTES`.
        Unsupported: of another version.
        Corrupt: anything else wrong; the text names field and rule.
    """
    if len(body) > MAX_MANIFEST_BYTES:
        raise TooLarge(f"manifest of {len(body)} bytes, limit {MAX_MANIFEST_BYTES}")
    try:
        label = _LABEL.validate_json(body)
        if label.format == FORMAT and label.version not in VERSIONS:
            raise Unsupported(
                f"plan of version {label.version}; this release reads {VERSIONS[-1]} and older"
            )
        manifest = _MANIFEST.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise Corrupt(f"plan manifest, {where}: {first['msg']}"[:500]) from None
    if dump_manifest(manifest) != body:
        raise Corrupt("plan manifest is not in canonical form")
    return manifest
