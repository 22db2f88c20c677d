"""Fixture of the examples: each is prepared by its name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.examples import SECRETS, Prepare
from tests.support.gateway import StartGateway


@pytest.fixture
async def prepare(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Prepare]:
    monkeypatch.chdir(tmp_path)  # the files that a configuration names are relative to it
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    prepare = Prepare(start_gateway, tmp_path)
    yield prepare
    for one in prepare.running:
        await one.stop()
