import logging
from pathlib import Path

import pytest

from edge_sdk.runtime.state import StateFolder, default_folder
from edge_sdk.values import Enrolled

URL = "https://fl.example.org"
IDENTITY = Enrolled(device="0" * 32, token="a-device-token-of-a-test")


def test_the_default_state_folder_is_xdg_and_one_per_server_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folders = {
        default_folder(url, name)
        for url in ("https://a.example", "https://b.example:8443/x")
        for name in ("", "pi", "pi/../../etc")
    }
    assert len(folders) == 6
    assert all(folder.parent == tmp_path / "edge-sdk" for folder in folders)


def test_an_attempt_to_enrol_keeps_its_secret_until_it_succeeded(tmp_path: Path) -> None:
    first = StateFolder(tmp_path, URL).attempt()
    assert (tmp_path / "attempt.json").stat().st_mode & 0o777 == 0o600
    folder = StateFolder(tmp_path, URL)
    assert folder.attempt() == first, "also after a restart"
    folder.save_identity(IDENTITY)
    assert not (tmp_path / "attempt.json").exists()
    assert folder.attempt() != first


def test_an_identity_the_server_forgot_takes_its_attempt_along(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, URL)
    folder.save_identity(IDENTITY)
    left_by_a_power_cut = folder.attempt()
    folder.forget_identity()
    assert folder.load_identity() is None
    assert folder.attempt() != left_by_a_power_cut


def test_the_secret_of_an_attempt_is_given_to_one_server_only(tmp_path: Path) -> None:
    ours = StateFolder(tmp_path, URL).attempt()
    assert StateFolder(tmp_path, "https://other.example.org").attempt() != ours


def test_an_unreadable_attempt_is_replaced_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "attempt.json").write_bytes(b"\x00garbage")
    folder = StateFolder(tmp_path, URL)
    with caplog.at_level(logging.WARNING):
        attempt = folder.attempt()
    assert "unreadable" in caplog.text
    assert attempt not in caplog.text
    assert folder.attempt() == attempt
