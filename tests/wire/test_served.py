"""Callers are told what served them, and what it cost, where the route says so."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

from tests.support.client import Response, ask, request
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.upstream import (
    Request,
    ScriptedUpstream,
    json_reply,
    raw_reply,
    reply,
    sse_reply,
)

USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 600},
}
ANSWER = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": USAGE}
PRICE = {"input": 2, "output": 10, "cache_read": 0.5}
COST = 400 * 2e-6 + 600 * 0.5e-6 + 100 * 10e-6
ALL = ["model", "upstream", "attempts", "cost", "cached_tokens"]
NAMES = ("model", "upstream", "attempts", "cost", "cached-tokens")
LAST = b'data: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n"
EVENTS = (b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n', LAST, b"data: [DONE]\n\n")


def config(upstream: ScriptedUpstream, **route: Any) -> dict[str, Any]:
    return {
        "upstreams": {"main": {"endpoints": [{"url": upstream.url}], "retries": {"attempts": 0}}},
        "models": {
            "small": {"upstream": "main", "fallbacks": ["bïg"]},
            "bïg": {"upstream": "main", "model": "big", "price": PRICE},
            "priced": {"upstream": "main", "price": PRICE},
        },
        "routes": [
            {
                "name": "main",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["small", "priced"],
                **route,
            }
        ],
    }


async def post(gateway: RunningGateway, model: str, *headers: str, **fields: Any) -> Response:
    body = json.dumps({"model": model, "messages": [], **fields}).encode()
    raw = request("POST", "/v1/chat/completions", headers=headers, body=body)
    return await ask(gateway.port, raw, "POST")


def told(response: Response) -> dict[str, bytes]:
    values = {name: response.value(f"x-gateway-{name}") for name in NAMES}
    return {name: value for name, value in values.items() if value is not None}


def failing_first(then: bytes) -> Callable[[Request], bytes]:
    replies = iter([reply(b"{}", status="503 No")])
    return lambda _: next(replies, then)


async def test_headers_tell_what_served_the_request(start_gateway: StartGateway) -> None:
    answer = reply(json.dumps(ANSWER).encode())
    async with ScriptedUpstream(raw_reply(failing_first(answer))) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=ALL))
        response = await post(gateway, "small")
    assert response.json() == ANSWER
    assert told(response) == {
        **{"model": b"b%C3%AFg", "upstream": b"main", "attempts": b"2"},
        **{"cost": f"{COST:.12f}".rstrip("0").encode(), "cached-tokens": b"600"},
    }


async def test_nothing_is_told_by_default(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream))
        assert told(await post(gateway, "priced")) == {}


async def test_a_model_without_a_price_has_no_cost(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=["cost", "model"]))
        assert told(await post(gateway, "small")) == {"model": b"small"}


async def test_a_body_that_comes_in_pieces_is_waited_for(start_gateway: StartGateway) -> None:
    body = json.dumps(ANSWER).encode()
    head = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    script = sse_reply([body[:20], body[20:]], head=head)
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=["cost"]))
        response = await post(gateway, "priced")
    assert response.json() == ANSWER
    assert set(told(response)) == {"cost"}


async def test_no_compressed_body_is_asked_for_where_the_cost_is_told(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=["cost"]))
        await post(gateway, "priced", "Accept-Encoding: gzip")
        assert upstream.requests[0].value("accept-encoding") != b"gzip"
    packed = reply(gzip.compress(json.dumps(ANSWER).encode()), headers=["Content-Encoding: gzip"])
    async with ScriptedUpstream(raw_reply(packed)) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=["cost"]))
        assert told(await post(gateway, "priced")) == {}


async def test_a_long_body_passes_without_its_cost(start_gateway: StartGateway) -> None:
    long = {**ANSWER, "x": "y" * 500_000}
    async with ScriptedUpstream(json_reply(long)) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=["cost", "upstream"]))
        response = await post(gateway, "priced")
    assert response.json() == long
    assert set(told(response)) == {"upstream"}


async def test_a_failed_answer_has_no_cost(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({}, status="400 Bad")) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=["attempts", "cost"]))
        assert told(await post(gateway, "priced")) == {"attempts": b"1"}


async def test_the_gateway_s_own_answers_tell_nothing(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=ALL))
        assert told(await ask(gateway.port, request("GET", "/v1/models"))) == {}
        assert told(await post(gateway, "other")) == {}


async def test_a_stream_tells_its_cost_in_the_last_usage(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, served_headers=ALL, cost_in_usage=True))
        usage = {"include_usage": True}
        response = await post(gateway, "priced", stream=True, stream_options=usage)
    cost = f'"usage":{{"cost":{COST:.10g},'.encode()
    assert response.body == b"".join(EVENTS).replace(b'"usage":{', cost)
    assert set(told(response)) == {"model", "upstream", "attempts"}


async def test_usage_that_only_the_gateway_asked_for_stays_away(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream, cost_in_usage=True, limits=["tokens"])
        document["limits"] = {"tokens": {"key": "ip", "tokens": "10000/day"}}
        gateway = await start_gateway(document)
        response = await post(gateway, "priced", stream=True)
    assert response.body == EVENTS[0] + EVENTS[2]


async def test_a_stream_passes_byte_for_byte_without_the_option(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream))
        usage = {"include_usage": True}
        response = await post(gateway, "priced", stream=True, stream_options=usage)
    assert response.body == b"".join(EVENTS)


async def test_a_kept_stream_tells_its_cost_and_what_served_it(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream, served_headers=ALL, cost_in_usage=True, resume={})
        gateway = await start_gateway(document)
        usage = {"include_usage": True}
        response = await post(gateway, "priced", stream=True, stream_options=usage)
    assert f'"cost":{COST:.10g},'.encode() in response.body
    assert told(response)["model"] == b"priced"
