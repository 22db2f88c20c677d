"""A gateway with one route that serves channels."""

from __future__ import annotations

import pytest

from tests.channels.clients import config
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.tokens import Auth


@pytest.fixture
async def gateway(start_gateway: StartGateway, auth: Auth) -> RunningGateway:
    """A gateway of one process."""
    return await start_gateway(config())
