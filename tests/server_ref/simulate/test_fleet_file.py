"""A wrong key or value in FLEET.toml is named, with the nearest right one."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Misuse
from server_ref.simulate.federation import server_settings
from server_ref.simulate.fleet import checked_fleet, load_fleet
from server_ref.simulate.holdings import deal

EXAMPLE = Path(__file__).parents[3] / "docs" / "fleet.toml"

SMALL: dict[str, Any] = {
    "plan": "digits.plan",
    "data": {"file": "digits.npz", "partition": "even"},
    "server": {"cohort": 2},
    "group": [{"name": "pi", "count": 3, "examples_per_s": 10.0, "link": {"up_kbit_s": 100.0}}],
}


def changed(path: str, value: object) -> dict[str, Any]:
    """`SMALL` with one value put at a dotted path."""
    fleet = copy.deepcopy(SMALL)
    *parents, last = path.split(".")
    table: Any = fleet
    for key in parents:
        table = table[int(key)] if key.isdigit() else table[key]
    table[last] = value
    return fleet


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("round", 3, "did you mean rounds?"),
        ("data.partitions", "user", "data.partitions: no such key; did you mean partition?"),
        ("group.0.link.up_kbits", 5, "did you mean up_kbit_s?"),
        ("group.0.link.loss", 2.0, "group.0.link.loss"),
        ("group.0.link.trace", [[5, 1.0], [3, 1.0]], "must rise"),
        ("server.chort", 3, "server.chort: no such setting here; did you mean cohort?"),
        ("server.rounds", 3, "no such setting here"),
        ("group.0.share", 0.5, "either count or share"),
        ("group.0.board", "toaster", "no board 'toaster'"),
        ("model", {"architecture": "cnn", "input_shape": [1], "classes": 2}, "either plan or"),
        ("group.0.policy", {"kind": "brave"}, "policy.kind"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: object, said: str) -> None:
    with pytest.raises(Misuse) as refused:
        checked_fleet(changed(path, value))
    assert said in str(refused.value)


def test_a_wrong_value_of_the_server_is_named(tmp_path: Path) -> None:
    fleet = checked_fleet(changed("server.cohort", 0))
    with pytest.raises(Misuse, match=r"server\.cohort"):
        server_settings(fleet, tmp_path, devices=3)


def test_the_environment_does_not_reach_a_simulated_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_SDK_COHORT", "99")
    fleet = checked_fleet(SMALL | {"server": {}})
    assert server_settings(fleet, tmp_path, devices=3).cohort == 10


def test_the_example_is_a_fleet_and_its_paths_are_relative_to_it() -> None:
    fleet = load_fleet(EXAMPLE)
    assert fleet.data.file.is_file()
    assert fleet.counts() == (2, 12, 6)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="No such file"):
        load_fleet(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = ")
    with pytest.raises(Misuse, match="no TOML"):
        load_fleet(tmp_path / "bad.toml")


@given(
    devices=st.integers(1, 40),
    how=st.sampled_from(["user", "even", "dirichlet"]),
    seed=st.integers(0, 20),
)
def test_every_device_holds_something_and_no_row_is_held_twice(
    devices: int, how: Any, seed: int
) -> None:
    draw = np.random.Generator(np.random.PCG64(seed))
    y = draw.integers(0, 5, 400)
    user = np.repeat(np.arange(10), 40)
    dealt = deal(y, user, how=how, devices=devices, alpha=0.5, least=1, draw=draw)
    assert len(dealt) == devices
    assert all(len(rows) for rows in dealt)
    rows = np.concatenate(dealt)
    assert len(np.unique(rows)) == len(rows)
    if how == "user":
        assert all(len(np.unique(user[rows])) == 1 for rows in dealt)
    else:
        assert len(rows) == len(y)


def test_too_many_devices_for_the_examples_are_refused() -> None:
    draw = np.random.Generator(np.random.PCG64(0))
    for how in ("user", "even", "dirichlet"):
        with pytest.raises(Misuse):
            deal(
                np.zeros(5, int),
                np.zeros(5, int),
                how=how,
                devices=9,
                alpha=0.5,
                least=1,
                draw=draw,
            )
