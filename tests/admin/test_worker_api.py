"""What workers tell the admin process."""

from __future__ import annotations

from tests.support.admin import admin, told
from tests.support.client import RawClient
from tests.support.exchange import EVENTS, POST
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, stepped_stream


async def test_one_caller_with_a_strange_name_hides_nothing_from_operators(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    name = "\ud800"  # JSON can say it, and UTF-8 cannot
    async with ScriptedUpstream(stepped_stream()) as upstream:
        document = simple_config(upstream.url, auth=["corp"], limits=["own"])
        document["limits"] = {"own": {"key": "subject", "requests": "1/minute"}}
        gateway = await start_gateway_process(document, auth=auth)
        authorization = bearer(sub=name, org=name).encode()
        async with RawClient(gateway.port) as client:
            await client.send(POST.replace(b"\r\n", b"\r\n%b\r\n" % authorization, 1))
            await client.read_head()
            for path in ("/api/requests", "/api/limits", "/api/now"):
                assert await told(gateway, path)
            await upstream.release(EVENTS[0])
            await upstream.finish()
            await client.read_until(b"0\r\n\r\n")
        await gateway.log.wait_for(lambda line: line["event"] == "request")
        assert (await admin(gateway, "GET", "/metrics")).status == 200
    assert not gateway.errors
