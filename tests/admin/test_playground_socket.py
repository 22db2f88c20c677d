"""The playground's way to a bridge, on the wire."""

from __future__ import annotations

from websockets.asyncio.client import connect

from tests.support.admin import admin
from tests.support.bridge import BridgeClient, bridged
from tests.support.gateway import GatewayProcess, StartGatewayProcess
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, stepped_stream

TOKEN = bearer(sub="player").partition(": ")[2]
HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
)


async def opened(gateway: GatewayProcess, token: str, path: str = "/v1/stream") -> BridgeClient:
    """A socket as the page opens it."""
    connection = await connect(
        f"ws://127.0.0.1:{gateway.admin_port}/play/socket?path={path}",
        origin=f"http://127.0.0.1:{gateway.admin_port}",  # type: ignore[arg-type]
        additional_headers={"Cookie": "gateway_session=canary7f3a"},
    )
    await connection.send(token)
    return BridgeClient(connection)


async def test_a_page_talks_with_the_bridge_as_its_caller(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        config = {**bridged(upstream.url, auth=["corp"]), "auth": auth}
        gateway = await start_gateway_process(config)
        page = await opened(gateway, TOKEN)
        await page.create("a")
        assert (await page.hear())["type"] == "created"
        await upstream.release(b'data: {"n": 1}\n\n')
        assert (await page.hear())["data"] == {"n": 1}
        head = b"".join(name + value for name, value in upstream.requests[0].headers)
        assert b"canary7f3a" not in head
        # When the page leaves, so does its caller.
        page.connection.transport.abort()
        await upstream.connections[0].wait_client_gone()
        line = await gateway.log.wait_for(lambda line: "bridge" in line)
        assert (line["subject"], line["end"]) == ("player", "client_abort")


async def test_a_page_hears_why_it_is_sent_away(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    config = {
        **bridged("http://127.0.0.1:9", auth=["corp"], websocket={"max_message": "1KiB"}),
        "auth": auth,
    }
    gateway = await start_gateway_process(config)
    for token, path, status in (("", "/v1/stream", 401), (TOKEN, "/nowhere", 404)):
        page = await opened(gateway, token, path)
        assert (await page.hear())["status"] == status
        await page.closed()
    page = await opened(gateway, TOKEN)
    await page.create("a", body={"x": "y" * 2000})
    assert (await page.closed())[0] == 1009


async def test_it_is_for_pages_of_operators_only(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(bridged("http://127.0.0.1:9"))
    where = "/play/socket?path=/v1/stream"
    evil = ("Origin: https://evil.test", "Host: evil.test")
    for line in evil:
        assert (await admin(gateway, "GET", where, None, line, *HANDSHAKE)).status == 403
    own = (f"Origin: http://127.0.0.1:{gateway.admin_port}",)
    host = f"Host: 127.0.0.1:{gateway.admin_port}"
    refused = await admin(gateway, "GET", "/play/socket", None, host, *own, *HANDSHAKE)
    assert refused.status == 400
    assert b"?path=/..." in refused.body
