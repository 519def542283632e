"""Promises of JSON bodies: what is left out comes back; bad ones name the rule, not the value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Corrupt, TooLarge
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.values import Cost, DeviceReport, Goodput

costs = st.builds(
    Cost,
    phase=st.sampled_from(["wait", "download", "train", "encode", "upload"]),
    seconds=st.floats(0, 1e6),
    cpu_s=st.none() | st.floats(0, 1e6),
    energy_missed_s=st.floats(0, 1e6),
    sent_bytes=st.none() | st.integers(0, 2**40),
)


@given(costs)
def test_what_a_brief_body_leaves_out_is_put_back(cost: Cost) -> None:
    brief = dump_json(cost, brief=True)
    assert load_json(Cost, brief) == load_json(Cost, dump_json(cost)) == cost
    assert None not in json.loads(brief).values()


def test_a_zero_is_not_taken_for_what_cannot_be_told() -> None:
    report = DeviceReport(battery=0.0, charging=False, throttled=(), load=0.0)
    assert load_json(DeviceReport, dump_json(report, brief=True)) == report
    assert dump_json(DeviceReport(), brief=True) == b"{}"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"\xff", b'{"seconds": -7777}', b'{"phase": "train", "more": 7777}']
)
def test_a_bad_body_names_the_rule_and_not_the_value(body: bytes) -> None:
    with pytest.raises(Corrupt) as refused:
        load_json(Cost, body)
    assert "7777" not in str(refused.value)


def test_a_body_over_the_limit_is_not_read() -> None:
    with pytest.raises(TooLarge):
        load_json(Goodput, b" " * 11, limit=10)
