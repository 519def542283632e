from pathlib import Path

import pytest

from edge_sdk.runtime.state import default_folder


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
