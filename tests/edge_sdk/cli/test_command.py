"""Promises of `edge-sdk`: it lists what there is, and says in one line what is not installed."""

import sys

import pytest

from edge_sdk.cli.command import main


def test_help_has_a_line_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    for name in ("plan", "join", "doctor", "serve", "simulate", "token", "devices", "runs"):
        assert f"\n  {name} " in told


def test_what_a_device_does_not_have_installed_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "server_ref.settings", raising=False)
    monkeypatch.delitem(sys.modules, "server_ref.__main__", raising=False)
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    assert main(["serve", "digits.plan"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "pydantic_settings is not installed" in told
    assert "edge-sdk[server]" in told


def test_help_on_a_device_tells_which_commands_need_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "server_ref.settings", raising=False)
    monkeypatch.delitem(sys.modules, "server_ref.__main__", raising=False)
    monkeypatch.setitem(sys.modules, "pydantic_settings", None)
    assert main([]) == 2
    told = capsys.readouterr().out
    assert "needs edge-sdk[server]" in told
    assert "Take part in a federation" in told
