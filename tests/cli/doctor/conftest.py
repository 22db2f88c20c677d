"""Fixtures of the checks of `gateway doctor`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.demo import DemoBackend
from tests.support.doctor import Doctor


@pytest.fixture
async def backend() -> AsyncIterator[DemoBackend]:
    """Demo backend that sends a token every 10 ms."""
    backend = DemoBackend(pace_s=0.01)
    await backend.start()
    yield backend
    await backend.stop()


@pytest.fixture
def doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Doctor:
    return Doctor(tmp_path, capsys)
