"""Plan <-> the bytes of one bundle."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.plan import archive
from edge_sdk.plan.manifest import (
    MANIFEST,
    WEIGHTS,
    Manifest,
    Member,
    NamedShape,
    PartSpec,
    StageSpec,
    TensorSpec,
    dump_manifest,
    evaluate_member,
    load_manifest,
    train_member,
    version_of,
    warm_up_member,
)
from edge_sdk.plan.segments import Segments
from edge_sdk.plan.split import (
    DEVICE_PARTS,
    Split,
    SplitParts,
    device_parts,
    split_members,
)
from edge_sdk.values import Layout, Parameter, Vector


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WarmUpParts:
    """What `pack_plan` needs of one stage's warm-up."""

    parameters: tuple[int, ...]
    """Positions of what it trains, rising; all among the stage's."""
    state: tuple[Parameter, ...]
    """Optimizer state tensors."""
    train: bytes
    """ONNX warm-up graph, see `conventions`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageParts:
    """What `pack_plan` needs of one stage."""

    name: str
    parameters: tuple[int, ...]
    """Positions in the plan's parameter list, rising."""
    state: tuple[Parameter, ...]
    """Optimizer state tensors."""
    train: bytes
    """ONNX train graph, see `conventions`."""
    evaluate: bytes
    """ONNX evaluation graph."""
    warm_up: WarmUpParts | None = None
    """Training of the newest block alone."""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """A verified bundle. Made by `load_plan` only."""

    manifest: Manifest
    digest: str
    """SHA-256 of the bundle's bytes, hex."""
    data: bytes
    """The bundle's bytes."""
    members: Mapping[str, memoryview]
    """File contents by name, views of `data`; read them through the methods."""

    def __repr__(self) -> str:
        size = self.manifest.layout.size
        return f"Plan({self.name!r}, {size} parameters, {self.stages} stage(s), {self.digest[:12]})"

    @property
    def name(self) -> str:
        """What people call it."""
        return self.manifest.name

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.manifest.stages)

    @property
    def input(self) -> TensorSpec:
        """The input the device feeds."""
        return self.manifest.input

    @property
    def target(self) -> TensorSpec:
        """The target the device feeds."""
        return self.manifest.target

    @property
    def classes(self) -> int | None:
        """Number of classes; None where the task has none."""
        return self.manifest.classes

    def layout(self, stage: int = 0) -> Layout:
        """Parameters of `stage`, in the order of its flat vector.

        Stage `DEVICE_PARTS` is what a device trains of the plan's split.
        """
        everything = self.manifest.layout.parameters
        if stage == DEVICE_PARTS and self.manifest.split is not None:
            parts = self.manifest.split.parts
            positions = sorted(i for n in device_parts(len(parts)) for i in parts[n].parameters)
            return Layout(tuple(everything[i] for i in positions))
        return Layout(tuple(everything[i] for i in self._stage(stage).parameters))

    def initial_weights(self, stage: int = 0) -> Vector:
        """Weights to start from, layout order; a new array."""
        tensors = self.manifest.layout.split(_weights(self.members[WEIGHTS]))
        return self.layout(stage).flatten(tensors)

    def whole_weights(self) -> Vector:
        """Initial weights of every parameter, in layout order; a new array."""
        return _weights(self.members[WEIGHTS]).copy()

    def segments(self) -> Segments:
        """How the whole vector is made up of what stages share; make it once and keep it."""
        return Segments(self.manifest)

    def has_warm_up(self, stage: int = 0) -> bool:
        """Whether `stage` can train its newest block and head alone."""
        return self._stage(stage).warm_up is not None

    def trained(self, stage: int = 0, *, warm_up: bool = False) -> Layout:
        """What training changes: the stage's parameters, or only those of its warm-up.

        Raises:
            Misuse: there is no such stage or warm-up.
        """
        everything = self.manifest.layout.parameters
        return Layout(tuple(everything[i] for i in self._trained(stage, warm_up).parameters))

    def optimizer_state(self, stage: int = 0, *, warm_up: bool = False) -> tuple[Parameter, ...]:
        """State tensors that the train graph carries; zero at the start."""
        return tuple(Parameter(t.name, t.shape) for t in self._trained(stage, warm_up).state)

    def train_graph(self, stage: int = 0, *, warm_up: bool = False) -> bytes:
        """ONNX model of one training step; feeds on all of the stage's parameters either way."""
        self._trained(stage, warm_up)
        return bytes(self.members[(warm_up_member if warm_up else train_member)(stage)])

    def evaluate_graph(self, stage: int = 0) -> bytes:
        """ONNX model that measures loss and hits."""
        self._stage(stage)
        return bytes(self.members[evaluate_member(stage)])

    @property
    def split(self) -> Split | None:
        """The model as parts for split learning; None where the plan has none."""
        found = self.manifest.split
        return Split(found, self.manifest.layout, self.members) if found else None

    def _trained(self, stage: int, warm_up: bool) -> StageSpec | PartSpec:
        spec = self._stage(stage)
        if not warm_up:
            return spec
        if spec.warm_up is None:
            raise Misuse(f"stage {stage} of the plan has no warm-up")
        return spec.warm_up

    def _stage(self, stage: int) -> StageSpec:
        if not 0 <= stage < self.stages:
            raise Misuse(f"stage {stage} of a plan with {self.stages}")
        return self.manifest.stages[stage]


def pack_plan(
    *,
    name: str,
    loss: str,
    optimizer: str,
    classes: int | None,
    input_spec: TensorSpec,
    target_spec: TensorSpec,
    parameters: Sequence[Parameter],
    weights: Vector,
    stages: Sequence[StageParts],
    split: SplitParts | None = None,
) -> bytes:
    """The bundle's bytes; equal arguments give equal bytes.

    Raises:
        Misuse: the parts do not fit each other, or are over a limit.
    """
    files: dict[str, bytes] = {}
    for number, stage in enumerate(stages):
        files[train_member(number)] = stage.train
        files[evaluate_member(number)] = stage.evaluate
        if stage.warm_up:
            files[warm_up_member(number)] = stage.warm_up.train
    files |= split_members(split) if split else {}
    files[WEIGHTS] = np.ascontiguousarray(weights, "<f4").tobytes()
    try:
        specs = tuple(_stage_spec(stage) for stage in stages)
        split_spec = split.spec() if split else None
        manifest = Manifest(
            version=version_of(specs, split_spec),
            name=name,
            loss=loss,
            optimizer=optimizer,
            classes=classes,
            input=input_spec,
            target=target_spec,
            parameters=_shapes(parameters),
            stages=specs,
            split=split_spec,
            members=tuple(_member(file, body) for file, body in files.items()),
        )
        _check_weights(manifest, files[WEIGHTS])
        return archive.pack({MANIFEST: dump_manifest(manifest), **files})
    except (ValueError, Corrupt) as error:  # pydantic's ValidationError is a ValueError
        raise Misuse(f"not a plan: {error}") from error


def load_plan(data: bytes, *, limit: int = archive.MAX_BYTES) -> Plan:
    """Read and verify a bundle.

    Raises:
        Malformed: anything is wrong with `data`; no other exception, ever.
    """
    members = archive.unpack(data, limit=limit)
    if next(iter(members), None) != MANIFEST:
        raise Corrupt(f"plan does not begin with {MANIFEST}")
    manifest = load_manifest(bytes(members.pop(MANIFEST)))
    if list(members) != [member.name for member in manifest.members]:
        raise Corrupt("plan's files are not those its manifest lists")
    for member in manifest.members:
        if member != _member(member.name, members[member.name]):
            raise Corrupt(f"{member.name} has another size or digest than the manifest says")
    _check_weights(manifest, members[WEIGHTS])
    return Plan(manifest, hashlib.sha256(data).hexdigest(), data, members)


def _check_weights(manifest: Manifest, body: bytes | memoryview) -> None:
    if len(body) != 4 * manifest.layout.size:
        raise Corrupt(f"{WEIGHTS} holds {len(body)} bytes, layout needs {4 * manifest.layout.size}")
    if not np.isfinite(_weights(body)).all():
        raise Corrupt(f"{WEIGHTS} holds NaN or infinity")


def _weights(body: bytes | memoryview) -> NDArray[np.float32]:
    return np.frombuffer(body, "<f4").astype(np.float32, copy=False)


def _shapes(parameters: Sequence[Parameter]) -> tuple[NamedShape, ...]:
    return tuple(NamedShape(name=p.name, shape=p.shape) for p in parameters)


def _stage_spec(stage: StageParts) -> StageSpec:
    warm_up = stage.warm_up
    return StageSpec(
        name=stage.name,
        parameters=stage.parameters,
        state=_shapes(stage.state),
        warm_up=PartSpec(parameters=warm_up.parameters, state=_shapes(warm_up.state))
        if warm_up
        else None,
    )


def _member(name: str, body: bytes | memoryview) -> Member:
    return Member(name=name, size=len(body), sha256=hashlib.sha256(body).hexdigest())
