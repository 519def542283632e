"""Promise: settings come from flags, environment and file in this order; wrong ones are named."""

import argparse
from pathlib import Path

import pytest

from edge_sdk.cli.command import run_command
from edge_sdk.errors import Misuse
from server_ref.__main__ import COMMAND
from server_ref.settings import Settings, dump_settings, load_settings

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


def test_the_settings_in_force_are_printed_and_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--rounds", "3", "--codec", "eden:bits=4", "--lr", "0.25", "--min-updates", "1"]
    assert run_command(COMMAND, [str(tmp_path / "a.plan"), *flags, "--print-config"]) == 0  # type: ignore[arg-type]  # same four attributes
    printed = tmp_path / "server.toml"
    printed.write_text(capsys.readouterr().out)
    found = load_settings({}, config=printed)
    assert (found.rounds, found.codecs, found.learning_rate) == (3, ("eden:bits=4",), 0.25)
    assert found.model_dump() == load_settings({}, config=printed).model_dump()
    assert dump_settings(found) == printed.read_text()


def test_a_wrong_key_names_the_nearest_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "server.toml"
    file.write_text('chort = 4\nquestionable = "x"\n')
    with pytest.raises(Misuse, match=r"chort: no such setting; did you mean cohort\?") as error:
        load_settings(GIVEN, config=file)
    assert "questionable: no such setting" in str(error.value)
    monkeypatch.setenv("EDGE_SDK_CHORT", "4")
    with pytest.raises(Misuse, match="EDGE_SDK_CHORT: no such setting; did you mean EDGE_SDK_COHO"):
        load_settings(GIVEN)
    monkeypatch.delenv("EDGE_SDK_CHORT")
    monkeypatch.setenv("EDGE_SDK_JOIN_TOKEN", "a device's own variable")
    load_settings(GIVEN)
    with pytest.raises(SystemExit):
        run_command(COMMAND, ["a.plan", "--chort", "4"])  # type: ignore[arg-type]  # same four attributes
    assert "did you mean --cohort?" in capsys.readouterr().err


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("cohort = = 3")
    with pytest.raises(Misuse, match="is no TOML"):
        load_settings(GIVEN, config=file)


def test_a_wrong_flag_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run_command(COMMAND, ["a.plan", "--memory", "elephant"])  # type: ignore[arg-type]  # same four attributes
    told = capsys.readouterr().err
    assert "elephant" in told
    assert told.count("\n") == 1


def test_a_server_without_a_plan_asks_for_one() -> None:
    with pytest.raises(Misuse, match="no plan is given"):
        load_settings({})
