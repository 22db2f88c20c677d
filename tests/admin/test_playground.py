"""The playground's way to the gateway, on the wire."""

from __future__ import annotations

import pytest

from tests.support.admin import admin
from tests.support.client import ConnectionEnded, RawClient
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    hang,
    json_reply,
    reply_then_close,
    stepped_stream,
)

ASK = (
    b"POST /play/api/v1/x?y=%2F HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n"
    b"Cookie: gateway_session=canary7f3a\r\nX-Forwarded-For: 1.2.3.4\r\nX-Odd: canary7f3a\r\n"
    b"Authorization: Bearer callers\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)


async def test_every_chunk_is_there_before_the_next_one_comes(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.admin_port) as client:
            await client.send(ASK)
            await upstream.release(b"data: 1\n\n")
            head = await client.read_head()
            assert head.status == 200
            assert head.value("content-type") == b"text/event-stream"
            assert head.value("x-from-gateway") == b"1"
            assert head.value("x-request-id")
            assert await client.read_chunk() == b"data: 1\n\n"
            await upstream.release(b"data: 2\n\n")
            assert await client.read_chunk() == b"data: 2\n\n"
            await upstream.finish()
            assert await client.read_chunk() is None


async def test_only_what_a_caller_would_send_goes_on(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"trusted_proxies": ["127.0.0.1/32"]})
        )
        async with RawClient(gateway.admin_port) as client:
            await client.send(ASK)
            assert (await client.read_response()).status == 200
        (request,) = upstream.requests
        assert (request.method, request.target, request.body) == ("POST", "/v1/x?y=%2F", b"{}")
        assert request.value("content-type") == b"application/json"
        assert b"canary7f3a" not in b"".join(name + value for name, value in request.headers)
        assert request.value("x-forwarded-for") == b"127.0.0.1"


async def test_when_the_page_leaves_the_backend_stops(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.admin_port) as client:
            await client.send(ASK)
            await upstream.wait_requests(1)
        await upstream.wait_closed()


async def test_an_answer_that_breaks_off_breaks_off_here_after_its_last_event(
    start_gateway_process: StartGatewayProcess,
) -> None:
    script = reply_then_close(STREAM_HEAD + chunk(b"data: 1\n\n"))
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(gateway.admin_port) as client:
            await client.send(ASK)
            await client.read_head()
            data = b""
            ended = False
            try:
                while (piece := await client.read_chunk()) is not None:
                    data += piece
            except ConnectionEnded:
                ended = True
            assert ended
            assert b"data: 1\n\n" in data
            assert b'"code":"upstream_reset"' in data


async def test_it_is_for_operators_only(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:1"))
    foreign = await admin(gateway, "POST", "/play/api/v1/x", {}, "Origin: https://evil.test")
    assert foreign.status == 403
    rebound = await admin(gateway, "GET", "/play/api/v1/x", None, "Host: evil.test")
    assert rebound.status == 403
    assert (await admin(gateway, "PUT", "/play/api/v1/x", {})).status == 405


async def test_a_backends_headers_and_bytes_do_nothing_on_the_admin_origin(
    start_gateway_process: StartGatewayProcess,
) -> None:
    hostile = (
        "Set-Cookie: gateway_session=1",
        "Service-Worker-Allowed: /",
        "Access-Control-Allow-Origin: *",
        "Clear-Site-Data: *",
        "Refresh: 0;url=https://evil.test",
        "Link: </x>; rel=preload",
        "Content-Security-Policy: default-src *",
        "X-Content-Type-Options: none",
        "Cross-Origin-Resource-Policy: cross-origin",
    )
    script = json_reply({}, headers=(*hostile, "Retry-After: 3"))
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        answer = await admin(gateway, "GET", "/play/api/v1/x", None, "Sec-Fetch-Dest: empty")
    assert answer.status == 200
    names = {name.decode().lower() for name, _ in answer.headers}
    assert names <= {
        *("content-type", "retry-after", "x-request-id", "x-from-gateway", "cache-control"),
        *("content-security-policy", "cross-origin-resource-policy", "referrer-policy"),
        *("x-content-type-options", "date", "server", "transfer-encoding", "connection"),
    }
    assert b"sandbox" in (answer.value("content-security-policy") or b"")
    assert answer.value("x-content-type-options") == b"nosniff"
    assert answer.value("cross-origin-resource-policy") == b"same-origin"


@pytest.mark.parametrize(
    "line",
    [
        *("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: null"),
        *("Sec-Fetch-Dest: document", "Sec-Fetch-Dest: serviceworker", "Sec-Fetch-Dest: script"),
    ],
)
async def test_only_the_playgrounds_own_fetch_is_passed_on(
    start_gateway_process: StartGatewayProcess, line: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        assert (await admin(gateway, "GET", "/play/api/v1/x", None, line)).status == 403
        assert not upstream.requests


async def test_a_client_that_leaves_within_its_body_is_no_fault(
    start_gateway_process: StartGatewayProcess,
) -> None:
    gateway = await start_gateway_process(simple_config("http://127.0.0.1:9"))
    for path in ("/play/api/v1/x", "/api/session"):
        async with RawClient(gateway.admin_port) as client:
            await client.send(
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf".encode()
            )
            await admin(gateway, "GET", "/livez")  # the handler reads by then
    await admin(gateway, "POST", "/api/reload")
    await gateway.log.wait_for(lambda line: line["event"] == "reloaded")
    assert not [line for line in gateway.log.lines if line["event"] == "unhandled"]
