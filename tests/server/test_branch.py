"""Requests of a session: what they may be, and responses that are not a relay's."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from aiohttp import web

from tests.support.bridge import bridge_client, bridged, texts
from tests.support.exchange import EVENTS
from tests.support.gateway import StartGateway
from tests.support.upstream import ScriptedUpstream, json_reply, sse_reply

KIB = 1024


async def answers(request: web.Request, handler: object) -> web.StreamResponse:
    """Plug-in that answers by itself, as the request's model says."""
    model = (await request.json())["model"]
    if model == "whole":
        return web.json_response({"n": 1}, status=201)
    if model == "chunked":
        response: web.StreamResponse = web.json_response({"n": 2})
        response.enable_chunked_encoding()
        return response
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for event in EVENTS:
        await response.write(event)
    if model == "broken":
        raise RuntimeError("of the plug-in")
    return response


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("answering_plugin")
    module.answers = answers  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return "answering_plugin.answers"


async def test_a_plug_in_answers_a_generation_in_every_way_of_aiohttp(
    start_gateway: StartGateway, plugin: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(bridged(upstream.url, middleware=[{"use": plugin}]))
        async with bridge_client(gateway.port) as client:
            await client.create("a", body={"model": "whole"})
            (whole,) = await client.end_of("a")
            await client.create("b", body={"model": "streamed"})
            streamed = await client.end_of("b")
            await client.create("c", body={"model": "chunked"})
            (chunked,) = await client.end_of("c")
            await client.create("d", body={"model": "broken"})
            broken = await client.end_of("d")
        assert upstream.requests == []
    assert (whole["type"], whole["status"], whole["data"]) == ("response", 201, {"n": 1})
    assert whole["request_id"]
    assert [message["type"] for message in streamed] == ["created", "event", "event", "done"]
    assert texts(streamed) == [{"n": 1}, {"n": 2}]
    assert chunked["data"] == {"n": 2}
    assert broken[-1]["type"] == "error"


async def test_a_large_body_passes_whole_and_one_above_the_cap_is_refused(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({"ok": 1})) as upstream:
        gateway = await start_gateway(bridged(upstream.url, body="512KiB"))
        async with bridge_client(gateway.port) as client:
            heard = {}
            for tag, size in (("small", 31), ("large", 300), ("huge", 600)):
                await client.create(tag, body={"model": "m", "x": size * KIB * "x"})
                heard[tag] = await client.end_of(tag)
        sizes = [len(request.body) // KIB for request in upstream.requests]
    assert sorted(sizes) == [31, 300]
    assert heard["small"][-1]["data"] == heard["large"][-1]["data"] == {"ok": 1}
    assert (heard["huge"][-1]["status"], heard["huge"][-1]["error"]["code"]) == (
        413,
        "request_too_large",
    )


async def test_headers_above_the_caps_are_refused(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(
            bridged(upstream.url, server={"header_bytes": "4KiB", "header_count": 20})
        )
        async with bridge_client(gateway.port) as client:
            await client.create("long", headers={"X-A": 3000 * "x", "X-B": 3000 * "x"})
            (long,) = await client.end_of("long")
            await client.create("many", headers={f"X-{n}": "x" for n in range(20)})
            (many,) = await client.end_of("many")
            await client.create("a", headers={"X-A": " x\u00e9 "})
            assert texts(await client.end_of("a")) == [{"n": 1}, {"n": 2}]
        (request,) = upstream.requests
    for refused in (long, many):
        assert (refused["status"], refused["error"]["code"]) == (431, "headers_too_large")
    assert request.value("x-a") == b"x\xe9"
