"""Commands that need the store: one that is away is not the caller's mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import NOWHERE, call
from tests.support.gateway import config_text, simple_config


def test_a_store_that_is_away_is_no_wrong_command_line(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    sections = {"store": {"url": "redis://127.0.0.1:1/0"}, "auth": {"keys": {"type": "api_key"}}}
    file.write_text(config_text(simple_config(NOWHERE), sections))
    said = call(capsys, "keys", "list", "--config", str(file))
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith("gateway: the store does not answer: ")
