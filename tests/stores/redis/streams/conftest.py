"""A Redis that gateways share, and a backend that sends one event at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.gateway import StartGateway
from tests.support.redis import Redis, StartRedis
from tests.support.upstream import ScriptedUpstream, stepped_stream


@pytest.fixture
async def redis(start_redis: StartRedis) -> Redis:
    """Redis that the gateways share."""
    return await start_redis()


@pytest.fixture
async def upstream(start_gateway: StartGateway) -> AsyncIterator[ScriptedUpstream]:
    """Backend that ends after the gateways."""
    async with ScriptedUpstream(stepped_stream()) as upstream:
        yield upstream
