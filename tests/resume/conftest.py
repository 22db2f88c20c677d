"""Gateways that share streams in Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from gateway.stores.redis import watched
from gateway.stores.redis.streams import sharing, written
from tests.resume.streams import ALIVE_S, IMPATIENT, TICK_S
from tests.support.gateway import (
    GatewayProcess,
    RunningGateway,
    StartGateway,
    StartGatewayProcess,
)
from tests.support.patient_stores import stores_wait
from tests.support.waiting import PATIENCE_S

StartTwo = Callable[[Mapping[str, Any]], Awaitable[tuple[GatewayProcess, RunningGateway]]]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways in the test's event loop give one up sooner that says nothing. They wait for
    Redis.
    """
    waits = sharing.RedisSharing.__init__.__kwdefaults__ or {}
    monkeypatch.setitem(waits, "timeout_s", PATIENCE_S)
    monkeypatch.setattr(written, "ALIVE_S", ALIVE_S)
    monkeypatch.setattr(sharing, "ALIVE_S", ALIVE_S)
    monkeypatch.setattr(sharing, "TICK_S", TICK_S)
    monkeypatch.setattr(watched, "TICK_S", TICK_S)


@pytest.fixture
def start_two(
    impatient: None,
    patient_stores: None,
    start_gateway: StartGateway,
    start_gateway_process: StartGatewayProcess,
) -> StartTwo:
    """Start a process, to be killed, and a gateway in the test's event loop, which starts in
    milliseconds.
    """
    # In this order, since the process ends before the loop is searched for leaks.

    async def start(document: Mapping[str, Any]) -> tuple[GatewayProcess, RunningGateway]:
        one = await start_gateway_process(document, first=IMPATIENT + stores_wait())
        return one, await start_gateway(document)

    return start
