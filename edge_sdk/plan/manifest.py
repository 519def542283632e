"""The manifest: what a plan says of itself, as strict bounded data. Read it top down.

Format `edge-sdk-plan`, version 1. A reader refuses other versions and unknown fields.

The plan holds one list of parameters, in layout order; each stage trains some of them, named by
their positions in that list. A plan has one stage today; further stages extend the tuple.
"""

import itertools
import math
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic import model_validator as checked
from pydantic.dataclasses import dataclass

from edge_sdk.errors import Corrupt, TooLarge, Unsupported
from edge_sdk.plan.conventions import CORRECT, LEARNING_RATE, LOSS, NEW_SUFFIX
from edge_sdk.values import STRICT, Count, Digest, Layout, Parameter, ShortText

FORMAT = "edge-sdk-plan"
VERSION = 1

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


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class StageSpec:
    """One way to train the model, or a part of it."""

    name: ShortText
    parameters: Annotated[tuple[Count, ...], Field(max_length=65_536)]
    """Positions in the plan's parameter list, rising."""
    state: Annotated[tuple[NamedShape, ...], Field(max_length=65_536)] = ()
    """Optimizer state; zero at the start."""


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
    version: Literal[1] = 1
    name: ShortText
    """For people."""
    loss: ShortText
    """What is minimised, e.g. `cross-entropy`."""
    optimizer: ShortText
    """The update rule inside the train graph, e.g. `sgd:momentum=0.9`."""
    classes: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Number of classes where the evaluation graph counts `correct`; None elsewhere."""
    input: TensorSpec
    target: TensorSpec
    parameters: Annotated[tuple[NamedShape, ...], Field(max_length=65_536)]
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1, max_length=255)]
    members: Annotated[tuple[Member, ...], Field(max_length=1023)]
    """Every other file of the bundle, in the bundle's order."""

    @checked(mode="after")
    def _consistent(self) -> Self:
        if sum(math.prod(parameter.shape) for parameter in self.parameters) > MAX_PARAMETERS:
            raise ValueError(f"more than {MAX_PARAMETERS} trainable parameters")
        if len({parameter.name for parameter in self.parameters}) < len(self.parameters):
            raise ValueError("a parameter stands twice")
        if [member.name for member in self.members] != member_names(len(self.stages)):
            raise ValueError("members are not those of the stages, in order")
        for stage in self.stages:
            self._check_stage(stage)
        return self

    def _check_stage(self, stage: StageSpec) -> None:
        positions = stage.parameters
        if any(a >= b for a, b in itertools.pairwise(positions)):
            raise ValueError("a stage's parameters must rise")
        if positions and positions[-1] >= len(self.parameters):
            raise ValueError("a stage names a parameter that is not there")
        names = [self.input.name, self.target.name, LEARNING_RATE]
        names += [self.parameters[i].name for i in positions]
        names += [tensor.name for tensor in stage.state]
        names += [LOSS, CORRECT]
        if len(set(names)) < len(names) or any(name.endswith(NEW_SUFFIX) for name in names):
            raise ValueError("tensor names clash")

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


def member_names(stages: int) -> list[str]:
    """Files beside the manifest, in the bundle's order."""
    graphs = [name(stage) for stage in range(stages) for name in (train_member, evaluate_member)]
    return [*graphs, WEIGHTS]


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
        if label.format == FORMAT and label.version != VERSION:
            raise Unsupported(f"plan of version {label.version}; this release reads {VERSION}")
        manifest = _MANIFEST.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise Corrupt(f"plan manifest, {where}: {first['msg']}"[:500]) from None
    if dump_manifest(manifest) != body:
        raise Corrupt("plan manifest is not in canonical form")
    return manifest
