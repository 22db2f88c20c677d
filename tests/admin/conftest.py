"""A gateway process for all tests of a module that leave it as it was."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def idle(
    tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer
) -> AsyncIterator[GatewayProcess]:
    """Gateway that tests do not change. A start takes longer than such a test."""
    file = tmp_path_factory.mktemp("idle") / "gateway.yaml"
    running = GatewayProcess(simple_config("http://127.0.0.1:1"), {}, file, fork_server=fork_server)
    await running.start()
    yield running
    await running.stop()
    assert b"Traceback" not in running.errors, running.errors.decode()
