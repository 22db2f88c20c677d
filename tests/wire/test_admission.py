"""Waiting for a busy backend, over the wire."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.support.client import RawClient, Response, ask
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, reply
from tests.support.waiting import PATIENCE_S


def config(upstream: ScriptedUpstream, auth: Auth, **admission: Any) -> dict[str, Any]:
    return {
        "auth": auth,
        "upstreams": {
            "main": {
                "endpoints": [{"url": upstream.url}],
                "admission": {"concurrency": 1, **admission},
            }
        },
        "models": {"m": {"upstream": "main"}},
        "routes": [{"name": "r", "path": "/v1/", "auth": ["corp"], "models": ["m"]}],
    }


def chat(**claims: Any) -> bytes:
    body = json.dumps({"model": "m"}).encode()
    head = ["POST /v1/chat HTTP/1.1", "Host: h", "Connection: close", bearer(**claims)]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def served(upstream: ScriptedUpstream) -> UpstreamConnection:
    connection = await upstream.accept()
    await connection.read_request()
    return connection


async def queued(gateway: RunningGateway, count: int) -> None:
    """Wait until so many wait."""
    admission = gateway.server.runtime.admission
    assert admission is not None
    (gate,) = admission.gates
    async with asyncio.timeout(PATIENCE_S):
        while gate.waiting != count:  # noqa: ASYNC110 -- the loop's next turn
            await asyncio.sleep(0)


def asked(gateway: RunningGateway, **claims: Any) -> asyncio.Task[Response]:
    return asyncio.create_task(ask(gateway.port, chat(**claims), "POST"))


async def test_tenants_take_turns_whatever_they_have_asked_for(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, auth))
        tasks = [asked(gateway, sub="first")]
        connection = await served(upstream)
        for number in range(4):
            tasks.append(asked(gateway, sub=f"greedy-{number}", org="greedy"))
            await queued(gateway, number + 1)
        tasks.append(asked(gateway, sub="modest", org="modest"))
        await queued(gateway, 5)
        for _ in range(6):
            await connection.send(reply(b"{}"))
            connection.close()
            if len(upstream.connections) < 6:
                connection = await served(upstream)
        answers = await asyncio.gather(*tasks)
        order = [line["subject"] for line in gateway.log.requests]
        waited = next(line for line in gateway.log.requests if line["subject"] == "modest")
    assert {answer.status for answer in answers} == {200}
    assert order.index("modest") == 2
    assert waited["queue_position"] == 2
    assert waited["queue_ms"] > 0


async def test_s7_a_client_that_leaves_while_it_waits_is_never_sent_on(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, auth))
        first = asked(gateway, sub="first")
        connection = await served(upstream)
        async with RawClient(gateway.port) as leaver:
            await leaver.send(chat(sub="leaver"))
            await queued(gateway, 1)
            leaver.reset()
        await queued(gateway, 0)
        await connection.send(reply(b"{}"))
        assert (await first).status == 200
        connection.close()
        after = asked(gateway, sub="after")
        last = await served(upstream)
        await last.send(reply(b"{}"))
        assert (await after).status == 200
        last.close()
        assert len(upstream.requests) == 2
        left = next(line for line in gateway.log.requests if line["subject"] == "leaver")
    assert left["end"] == "client_abort"
    assert "upstream" not in left


async def test_a_full_queue_and_a_long_wait_are_503_with_a_retry_after(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, auth, queue=1, max_wait="300ms"))
        first = asked(gateway)
        connection = await served(upstream)
        waiting = asked(gateway)
        await queued(gateway, 1)
        refused = await asked(gateway)
        late = await waiting
        await connection.send(reply(b"{}"))
        assert (await first).status == 200
    assert (refused.status, late.status) == (503, 503)
    assert refused.json()["error"]["code"] == "queue_full"
    assert late.json()["error"]["code"] == "queue_timeout"
    assert int(refused.value("retry-after") or b"0") >= 1
    assert len(upstream.requests) == 1


async def test_a_tier_with_priority_goes_first(start_gateway: StartGateway, auth: Auth) -> None:
    auth["corp"] = {**auth["corp"], "claims": {"tier": "plan"}}
    async with ScriptedUpstream() as upstream:
        document = config(upstream, auth) | {"shares": {"priorities": {"gold": 1}}}
        gateway = await start_gateway(document)
        tasks = [asked(gateway, sub="first")]
        connection = await served(upstream)
        for number, claims in enumerate(({"sub": "silver"}, {"sub": "gold", "plan": "gold"})):
            tasks.append(asked(gateway, **claims))
            await queued(gateway, number + 1)
        for _ in range(3):
            await connection.send(reply(b"{}"))
            connection.close()
            if len(upstream.connections) < 3:
                connection = await served(upstream)
        await asyncio.gather(*tasks)
        order = [line["subject"] for line in gateway.log.requests]
    assert order == ["first", "gold", "silver"]
