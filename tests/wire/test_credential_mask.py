"""What callers and operators learn of a backend that refuses the gateway's credential."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.exchange import ask
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, UpstreamConnection, reply

KEY = "sk-live-0123456789abcdef"
BODY = json.dumps({"error": {"message": f"Invalid key {KEY}", "type": "auth_error"}}).encode()


def upstream_options(tmp_path: Any, **more: Any) -> dict[str, Any]:
    file = tmp_path / "key"
    file.write_text(KEY)
    return {"credentials": {"bearer": {"file": str(file)}}, **more}


@pytest.mark.parametrize("dialect", ["openai", "anthropic"], ids=["passed", "translated"])
@pytest.mark.parametrize("cut", [0, len(BODY) - 20], ids=["at once", "split"])
async def test_a_credential_that_the_backend_repeats_goes_nowhere(
    start_gateway: StartGateway, tmp_path: Any, dialect: str, cut: int
) -> None:
    whole = reply(BODY, status="401 Unauthorized", headers=[f'WWW-Authenticate: Key "{KEY}"'])
    cut = cut and len(whole) - 20

    async def script(connection: UpstreamConnection) -> None:
        request = await connection.read_request()
        assert request.value("authorization") == f"Bearer {KEY}".encode()
        await connection.send(whole[:cut])
        await connection.delivered()
        await asyncio.sleep(0)
        await connection.send(whole[cut:])

    async with ScriptedUpstream(script) as upstream:
        document = simple_config(
            upstream.url, upstream=upstream_options(tmp_path, dialect="openai"), dialect=dialect
        )
        document["models"] = {"m": {"upstream": "main"}}
        document["routes"][0] |= {"models": ["m"]}
        del document["routes"][0]["upstream"]
        document["telemetry"] = {"traces": {"sample": 1.0}}
        gateway = await start_gateway(document)
        if dialect == "anthropic":
            body = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}'
            head = b"POST /v1/messages HTTP/1.1\r\nHost: gw\r\nContent-Length: %d\r\n\r\n"
            response = await ask(gateway.port, head % len(body) + body)
        else:
            response = await ask(gateway.port)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert response.status == 401
    assert KEY not in repr(response)
    assert b"Invalid key ***" in response.body
    assert KEY not in json.dumps(line)
    assert line["error"] == "upstream_credential_refused"


async def test_a_credential_of_the_caller_is_the_callers_fault(
    start_gateway: StartGateway,
) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(reply(BODY, status="401 Unauthorized"))

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert response.body == BODY
    assert line.get("error") is None
