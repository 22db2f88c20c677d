"""Gateways that share streams in Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import pytest

from gateway.stores.redis import makers, watched
from gateway.stores.redis.limits import RedisLimits
from gateway.stores.redis.streams import sharing, written
from tests.resume.streams import ALIVE_S, IMPATIENT, LIMITS_S, TICK_S
from tests.support.gateway import (
    GatewayProcess,
    RunningGateway,
    StartGateway,
    StartGatewayProcess,
)

StartTwo = Callable[[Mapping[str, Any]], Awaitable[tuple[GatewayProcess, RunningGateway]]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways in the test's event loop give one up sooner that says nothing, and wait for the
    limits in Redis.
    """
    monkeypatch.setattr(written, "ALIVE_S", ALIVE_S)
    monkeypatch.setattr(sharing, "ALIVE_S", ALIVE_S)
    monkeypatch.setattr(sharing, "TICK_S", TICK_S)
    monkeypatch.setattr(watched, "TICK_S", TICK_S)
    monkeypatch.setattr(makers, "RedisLimits", partial(RedisLimits, timeout_s=LIMITS_S))


@pytest.fixture
def start_two(
    impatient: None, start_gateway: StartGateway, start_gateway_process: StartGatewayProcess
) -> StartTwo:
    """Start a process, to be killed, and a gateway in the test's event loop, which starts in
    milliseconds.
    """
    # In this order, since the process ends before the loop is searched for leaks.

    async def start(document: Mapping[str, Any]) -> tuple[GatewayProcess, RunningGateway]:
        one = await start_gateway_process(document, first=IMPATIENT)
        return one, await start_gateway(document)

    return start
