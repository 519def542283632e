"""Promise: settings come from flags, environment and file in this order; wrong ones are named."""

import argparse
from pathlib import Path

import pytest

from edge_sdk.cli.command import run_command
from edge_sdk.errors import Misuse
from server_ref.__main__ import COMMAND
from server_ref.settings import Settings, load_settings

GIVEN: dict[str, object] = {"plan": Path("a.plan"), "state": Path("state")}


def test_flags_win_over_environment_and_environment_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.toml"
    file.write_text('plan = "file.plan"\nepochs = 2\nrounds = 2\ncohort = 2\n')
    monkeypatch.setenv("EDGE_SDK_ROUNDS", "3")
    monkeypatch.setenv("EDGE_SDK_COHORT", "3")
    found = load_settings({"state": tmp_path, "cohort": 4}, config=file)
    assert (found.plan, found.epochs, found.rounds, found.cohort) == (Path("file.plan"), 2, 3, 4)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"rounds": 0}, "rounds"),
        ({"surprise": 1}, "surprise"),
        ({"codecs": ("nonsense",)}, "codecs"),
        ({"downlink_codec": "eden:bits=99"}, "downlink_codec"),
        ({"cohort": 2, "min_updates": 3}, "min_updates"),
        ({"host": "0.0.0.0"}, "without TLS"),  # noqa: S104 - the refusal is what is tested
        ({"tls_cert": Path("x.pem")}, "belong together"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(Misuse, match=named):
        load_settings(GIVEN | wrong)


def test_beyond_loopback_needs_tls_or_a_plain_word() -> None:
    for allowed in ({"insecure": True}, {"tls_cert": Path("c"), "tls_key": Path("k")}):
        assert load_settings(GIVEN | {"host": "0.0.0.0"} | allowed).host == "0.0.0.0"  # noqa: S104 - as above


def test_every_setting_has_a_flag() -> None:
    parser = argparse.ArgumentParser()
    COMMAND.add_arguments(parser)
    flags = {action.dest for action in parser._actions}
    assert set(Settings.model_fields) <= flags


def test_the_command_fits_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(COMMAND, ["no-such.plan", "--state", "x"]) == 1  # type: ignore[arg-type]  # same four attributes
    assert "no-such.plan" in capsys.readouterr().err


def test_state_stands_beside_the_plan_unless_given(tmp_path: Path) -> None:
    assert load_settings({"plan": tmp_path / "digits.plan"}).state == tmp_path / "digits.state"
    assert load_settings(GIVEN).state == Path("state")
