"""Fixtures of sources of endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.discovery import Told
from tests.support.dns import DnsServer


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    for source in told.sources:
        source.close()


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer() as server:
        yield server
