"""What `check` and `routes` build of a file, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import NOWHERE, call
from tests.support.gateway import config_text, simple_config


@pytest.mark.parametrize("command", [("check",), ("routes", "--config")], ids=lambda one: one[0])
def test_looking_at_a_file_makes_no_store(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    file, store = tmp_path / "config.yaml", tmp_path / "stores/store.db"
    sections = {"store": {"url": f"sqlite://{store}"}, "auth": {"keys": {"type": "api_key"}}}
    file.write_text(config_text(simple_config(NOWHERE), sections))
    assert call(capsys, *command, str(file)).code == 0
    assert not store.parent.exists()
