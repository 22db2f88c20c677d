"""The plainest pair: an upstream that answers every request with {}, and a gateway before it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(json_reply({})) as upstream:
        yield upstream


@pytest.fixture
async def gateway(upstream: ScriptedUpstream, start_gateway: StartGateway) -> RunningGateway:
    return await start_gateway(simple_config(upstream.url))
