"""Log settings that change while the gateway runs."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from tests.support.admin import admin, told
from tests.support.client import ask, request
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.traces import telemetry
from tests.support.upstream import (
    ScriptedUpstream,
    json_reply,
)

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_level_and_sampling_change_in_all_workers_and_in_those_to_come(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"workers": 2}), telemetry=telemetry(local=None)
        )
        wrong: tuple[Any, ...] = (
            {"level": "loud"},
            {"sample": 2},
            {"sample": "half"},
            {"sample": True},
            {"sampel": 1},
            [],
            "x",
            {"level": ["info"]},
        )
        for body in wrong:
            assert (await admin(gateway, "PUT", "/api/log", body)).status == 400, body
        assert await told(gateway, "/api/log") == {"level": "info", "sample": 1.0}
        changed = await admin(gateway, "PUT", "/api/log", {"sample": 0})
        assert changed.json() == {"level": "info", "sample": 0.0}
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(20)))
        missing = request(target="/nowhere", headers=["Connection: close"])
        await ask(gateway.port, missing)
        await gateway.log.wait_for(lambda line: line.get("status") == 404)
        assert [line for line in gateway.log.requests if line["status"] == 200] == []

        os.kill(gateway.pid, signal.SIGKILL)
        await gateway.log.wait_for(lambda line: line["event"] == "restarted")
        changed = await admin(gateway, "PUT", "/api/log", {"level": "debug", "sample": 1})
        assert changed.status == 200

        async def logged_by() -> set[int]:
            await asyncio.gather(*(ask(gateway.port, GET) for _ in range(20)))
            return {line["worker"] for line in gateway.log.requests if line["status"] == 200}

        async with asyncio.timeout(20):
            while await logged_by() != {0, 1}:
                pass
