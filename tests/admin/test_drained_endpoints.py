"""Endpoints that operators drain."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from tests.support.admin import admin, told, until
from tests.support.client import ask
from tests.support.gateway import (
    GatewayProcess,
    StartGatewayProcess,
    simple_config,
)
from tests.support.upstream import ScriptedUpstream, json_reply

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_an_endpoint_is_drained_and_let_in_again(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as one, ScriptedUpstream(json_reply({})) as other:
        config = simple_config(one.url, server={"workers": 2})
        config["upstreams"]["main"]["endpoints"].append({"url": other.url})
        gateway = await start_gateway_process(config)
        path = "/api/upstreams/main/drain"
        assert (await admin(gateway, "POST", path, {"endpoint": one.url})).status == 200
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(30)))
        assert len(one.requests) == 0
        (upstream,) = (await told(gateway, "/api/upstreams"))["upstreams"]
        shown = {endpoint["url"]: endpoint for endpoint in upstream["endpoints"]}
        assert shown[one.url]["states"] == ["draining", "draining"]
        assert shown[one.url]["why"] == "drained by an operator"
        undrain = path.replace("drain", "undrain")
        assert (await admin(gateway, "POST", undrain, {"endpoint": one.url})).status == 200
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(30)))
        assert one.requests


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("nobody", {"endpoint": "http://127.0.0.1:1"}, 404),
        ("main", {"endpoint": "http://10.0.0.1"}, 404),
        ("main", {}, 400),
        ("main", [], 400),
        ("main", "x", 400),
    ],
)
async def test_what_cannot_be_drained(
    idle: GatewayProcess, name: str, body: object, status: int
) -> None:
    said = await admin(idle, "POST", f"/api/upstreams/{name}/drain", body)
    assert said.status == status
    assert said.json()["error"]


async def test_a_drained_endpoint_stays_so_in_a_worker_that_starts_later(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as one, ScriptedUpstream(json_reply({})) as other:
        config = simple_config(one.url)
        config["upstreams"]["main"]["endpoints"].append({"url": other.url})
        gateway = await start_gateway_process(config)
        await admin(gateway, "POST", "/api/upstreams/main/drain", {"endpoint": one.url})
        os.kill(gateway.pid, signal.SIGKILL)
        await until(
            gateway,
            "/api/upstreams",
            lambda found: (
                found["upstreams"] and found["upstreams"][0]["endpoints"][0]["state"] == "draining"
            ),
        )
