"""Promises of the plan bundle: what goes in comes out, equal input equal bytes, no other bytes."""

import dataclasses
import hashlib
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Corrupt, Malformed, Misuse, TooLarge, Truncated, Unsupported
from edge_sdk.plan import Plan, StageParts, TensorSpec, archive, load_plan, pack_plan
from edge_sdk.values import Parameter

PARAMETERS = (Parameter("w", (3, 2)), Parameter("head.w", (2,)), Parameter("b", (1,)))
WEIGHTS = np.arange(9, dtype=np.float32)
STAGE = StageParts(
    name="all",
    parameters=(0, 1, 2),
    state=(Parameter("w.momentum", (3, 2)),),
    train=b"train graph",
    evaluate=b"evaluate graph",
)
PARTIAL = dataclasses.replace(STAGE, name="early", parameters=(0, 2), train=b"early graph")


def packed(**changes: object) -> bytes:
    parts: dict[str, object] = {
        "name": "tiny",
        "loss": "cross-entropy",
        "optimizer": "sgd:momentum=0.9",
        "classes": 2,
        "input_spec": TensorSpec(name="x", dtype="float32", shape=(3,)),
        "target_spec": TensorSpec(name="target", dtype="int64", shape=()),
        "parameters": PARAMETERS,
        "weights": WEIGHTS,
        "stages": (STAGE,),
    }
    return pack_plan(**(parts | changes))  # type: ignore[arg-type]  # parts by name


GOOD = packed()
MEMBERS = {name: bytes(body) for name, body in archive.unpack(GOOD).items()}


def test_what_was_packed_is_what_is_loaded() -> None:
    plan = load_plan(packed(stages=(PARTIAL, STAGE)))
    assert (plan.name, plan.stages, plan.classes) == ("tiny", 2, 2)
    assert plan.input == TensorSpec(name="x", dtype="float32", shape=(3,))
    assert plan.target.dtype == "int64"
    assert plan.layout(1).parameters == PARAMETERS
    assert plan.layout(0).parameters == (PARAMETERS[0], PARAMETERS[2])
    assert plan.initial_weights(1).tolist() == WEIGHTS.tolist()
    assert plan.initial_weights(0).tolist() == [0, 1, 2, 3, 4, 5, 8]
    assert plan.optimizer_state() == STAGE.state
    assert (plan.train_graph(0), plan.train_graph(1)) == (b"early graph", b"train graph")
    assert plan.evaluate_graph() == b"evaluate graph"


def test_weights_are_the_callers_own() -> None:
    plan = load_plan(GOOD)
    plan.initial_weights()[:] = 7
    assert plan.initial_weights().tolist() == WEIGHTS.tolist()


def test_digest_is_that_of_the_bytes() -> None:
    plan = load_plan(GOOD)
    assert plan.digest == hashlib.sha256(GOOD).hexdigest()
    assert plan.data == GOOD


def test_equal_parts_give_equal_bytes() -> None:
    assert packed() == GOOD
    assert packed(weights=WEIGHTS + 1) != GOOD


def test_any_zip_tool_opens_it_and_finds_everything_stored() -> None:
    with zipfile.ZipFile(io.BytesIO(GOOD)) as file:
        assert file.testzip() is None
        assert file.namelist()[0] == "manifest.json"
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_STORED}
        assert file.read("weights.f32") == WEIGHTS.astype("<f4").tobytes()


def test_a_stage_that_is_not_there_is_misuse() -> None:
    with pytest.raises(Misuse, match="stage 1"):
        load_plan(GOOD).layout(1)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": WEIGHTS[:-1]},
        {"weights": WEIGHTS * np.float32("nan")},
        {"name": "n" * 201},
        {"stages": ()},
        {"parameters": (*PARAMETERS[:2], Parameter("w", (1,)))},
        {"parameters": (*PARAMETERS[:2], Parameter("lr", (1,)))},
        {"parameters": (*PARAMETERS[:2], Parameter("b.new", (1,)))},
        {"stages": (dataclasses.replace(STAGE, parameters=(2, 1)),)},
        {"stages": (dataclasses.replace(STAGE, parameters=(0, 3)),)},
    ],
)
def test_parts_that_do_not_fit_are_misuse(changes: dict[str, object]) -> None:
    with pytest.raises(Misuse):
        packed(**changes)


def test_a_bundle_cut_anywhere_is_truncated() -> None:
    for end in range(len(GOOD)):
        with pytest.raises(Truncated):
            load_plan(GOOD[:end])


@given(at=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(at: int, bit: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= 1 << bit
    with pytest.raises(Malformed):
        load_plan(bytes(data))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_plan_or_malformed(data: bytes, local_header: bool) -> None:
    for attempt in (data, b"PK\x03\x04" + data if local_header else GOOD + data):
        try:
            assert isinstance(load_plan(attempt), Plan)
        except Malformed:
            assert attempt != GOOD


def edited(change: Callable[[dict[str, object]], object]) -> bytes:
    """The good bundle with another manifest."""
    manifest = json.loads(MEMBERS["manifest.json"])
    change(manifest)
    body = json.dumps(manifest, indent=1).encode() + b"\n"
    return archive.pack(MEMBERS | {"manifest.json": body})


def with_weights(values: list[float]) -> bytes:
    body = np.array(values, "<f4").tobytes()

    def change(manifest: dict[str, object]) -> None:
        members = manifest["members"]
        assert isinstance(members, list)
        members[-1] |= {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}

    data = edited(change)
    return archive.pack(
        {name: bytes(b) for name, b in archive.unpack(data).items()} | {"weights.f32": body}
    )


def deflated() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in MEMBERS.items():
            file.writestr(name, body)
    return buffer.getvalue()


def other_date() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, body in MEMBERS.items():
            file.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), body)
    return buffer.getvalue()


def member(name: bytes, body: bytes = b"") -> bytes:
    """A local entry as the archive writes it, whatever the name."""
    header = struct.pack(
        "<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, 0x21, zlib.crc32(body), *[len(body)] * 2,
        len(name), 0,
    )  # fmt: skip
    return header + name + body


BAD: dict[str, tuple[bytes, type[Malformed]]] = {
    "empty": (b"", Truncated),
    "not an archive": (b"<html>no such plan</html>", Corrupt),
    "empty archive": (archive.pack({}), Corrupt),
    "compressed": (deflated(), Unsupported),
    "another date": (other_date(), Corrupt),
    "trailing bytes": (GOOD + b"\0", Corrupt),
    "name with a folder": (member(b"a/b"), Corrupt),
    "name that climbs": (member(b"../etc"), Corrupt),
    "absolute name": (member(b"/etc/passwd"), Corrupt),
    "member twice": (member(b"a") + member(b"a"), Corrupt),
    "huge size stated": (member(b"a")[:18] + b"\xff" * 8 + member(b"a")[26:], Truncated),
    "extra member": (archive.pack(MEMBERS | {"extra.bin": b"x"}), Corrupt),
    "missing member": (
        archive.pack({n: b for n, b in MEMBERS.items() if n != "weights.f32"}), Corrupt,
    ),
    "members in another order": (archive.pack(dict(reversed(MEMBERS.items()))), Corrupt),
    "wrong digest": (archive.pack(MEMBERS | {"stage0-train.onnx": b"train grapf"}), Corrupt),
    "no json": (archive.pack(MEMBERS | {"manifest.json": b"{"}), Corrupt),
    "spaced json": (archive.pack(MEMBERS | {"manifest.json": MEMBERS["manifest.json"] + b" "}),
                    Corrupt),
    "newer version": (edited(lambda m: m.update(version=3)), Unsupported),
    "other format": (edited(lambda m: m.update(format="zip")), Corrupt),
    "unknown field": (edited(lambda m: m.update(surprise=1)), Corrupt),
    "field of another type": (edited(lambda m: m.update(classes="2")), Corrupt),
    "negative classes": (edited(lambda m: m.update(classes=-2)), Corrupt),
    "parameters too large": (
        edited(lambda m: m.update(parameters=[{"name": "w", "shape": [2**31 - 1] * 8}])), Corrupt,
    ),
    "large manifest": (archive.pack(MEMBERS | {"manifest.json": b" " * (5 << 20)}), TooLarge),
    "weights with NaN": (with_weights([*range(8), float("nan")]), Corrupt),
    "weights with infinity": (with_weights([*range(8), float("inf")]), Corrupt),
    "weights too short": (with_weights([*range(8)]), Corrupt),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_bundle_gets_its_own_refusal(case: str) -> None:
    data, error = BAD[case]
    with pytest.raises(error) as caught:
        load_plan(data)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_the_limit_is_checked_first() -> None:
    with pytest.raises(TooLarge):
        load_plan(GOOD, limit=len(GOOD) - 1)


def test_an_archive_with_too_many_members_is_too_large() -> None:
    with pytest.raises(TooLarge):
        archive.unpack(b"".join(member(b"m%d" % i) for i in range(archive.MAX_MEMBERS + 1)))


def test_a_name_that_is_not_allowed_is_not_packed() -> None:
    with pytest.raises(Misuse):
        archive.pack({"../weights.f32": b""})
