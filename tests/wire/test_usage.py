"""Usage over the wire: what an answer costs, and that everybody reports the same."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import RawClient, Response, ask
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.metrics import read_until
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    sse_reply,
    stepped_stream,
)

USAGE = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
ERROR = {"error": {"message": "no " * 500, "type": "x"}}
BURST = 100_000


def config(
    upstream: ScriptedUpstream, auth: Auth, *, limited: bool = True, **sections: Any
) -> dict[str, Any]:
    limit = {"key": "subject", "tokens": "1/day", "token_burst": BURST}
    return {
        "auth": auth,
        "limits": {"t": limit},
        "upstreams": {"main": {"endpoints": [{"url": upstream.url}]}},
        "models": {"a": {"upstream": "main"}},
        "routes": [
            {
                "name": "r",
                "path": "/v1/",
                "auth": ["corp"],
                "models": ["a"],
                "limits": ["t"] if limited else [],
            }
        ],
        **sections,
    }


def request(path: str = "/v1/chat/completions", **fields: Any) -> bytes:
    body = json.dumps({"model": "a", "messages": [{"content": "x" * 40_000}], **fields}).encode()
    head = [f"POST {path} HTTP/1.1", "Host: h", bearer(), "Connection: close"]
    head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


async def post(
    gateway: RunningGateway, path: str = "/v1/chat/completions", **fields: Any
) -> Response:
    return await ask(gateway.port, request(path, **fields), "POST")


async def left(gateway: RunningGateway) -> int:
    """Tokens that the caller has left, but for a small request's."""
    response = await post(gateway, messages=[], max_tokens=1)
    return int(response.value("x-ratelimit-remaining-tokens") or b"0")


@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many", "500 Oops", "503 Busy"])
async def test_a_failed_answer_costs_nothing(
    start_gateway: StartGateway, auth: Auth, status: str
) -> None:
    async with ScriptedUpstream(json_reply(ERROR, status=status)) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        for _ in range(4):
            assert (await post(gateway)).status == int(status[:3])
            logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
            assert "tokens_in" not in logged
        assert await left(gateway) > BURST - 100


async def broken(connection: UpstreamConnection) -> None:
    """A stream that breaks off after its role."""
    await connection.read_request()
    await connection.send(STREAM_HEAD + chunk(ROLE))
    await connection.delivered()
    connection.reset()


async def truncated(connection: UpstreamConnection) -> None:
    """An answer in one piece of which one half comes."""
    await connection.read_request()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
    await connection.send(head + b"x" * 5000)
    connection.close()


ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'


@pytest.mark.parametrize(
    "script",
    [
        sse_reply([b"data: " + json.dumps(ERROR).encode() + b"\n\n"]),
        sse_reply([ROLE, b"data: " + json.dumps(ERROR).encode() + b"\n\n"]),
        broken,
        truncated,
    ],
)
async def test_an_answer_that_failed_before_its_first_token_costs_nothing(
    start_gateway: StartGateway, auth: Auth, script: Script
) -> None:
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        async with RawClient(gateway.port) as client:
            await client.send(request(stream=True))
            await client.read_to_end()
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert logged["status"] == 200
    assert "tokens_in" not in logged


@pytest.mark.parametrize(
    "path", ["/v1/messages/count_tokens", "/v1/tokenize", "/v1/responses/input_tokens"]
)
async def test_what_is_no_generation_costs_nothing(
    start_gateway: StartGateway, auth: Auth, path: str
) -> None:
    async with ScriptedUpstream(json_reply({"input_tokens": 5, "tokens": [1] * 1000})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        response = await post(gateway, path)
        assert int(response.value("x-ratelimit-remaining-tokens") or b"0") > BURST - 10
        assert await left(gateway) > BURST - 100


@pytest.mark.parametrize(
    "script",
    [
        json_reply({"choices": [], "usage": USAGE}),
        sse_reply([b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"]),
    ],
    ids=["whole", "stream"],
)
@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("metrics", [{}, None])
@pytest.mark.parametrize("traces", [{"sample": 1.0, "local": None}, None])
async def test_the_log_has_tokens_whatever_else_is_on(
    start_gateway: StartGateway,
    auth: Auth,
    script: Script,
    limited: bool,
    metrics: Any,
    traces: Any,
) -> None:
    telemetry = {"log": {"format": "json"}, "metrics": metrics, "traces": traces}
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream, auth, limited=limited, telemetry=telemetry))
        await post(gateway, stream=True)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (logged["tokens_in"], logged["tokens_out"]) == (30, 20)


async def test_an_image_is_reserved_by_its_pixels(start_gateway: StartGateway, auth: Auth) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64," + "A" * 700_000}}
    async with ScriptedUpstream(json_reply({"usage": USAGE})) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        response = await post(gateway, messages=[{"content": [image]}], max_tokens=100)
    assert int(response.value("x-ratelimit-remaining-tokens") or b"0") > BURST - 2000


@pytest.mark.parametrize(
    ("fields", "most"),
    [({"max_tokens": 1, "max_completion_tokens": 99_000}, None), ({"n": 500}, None), ({}, 99_000)],
)
async def test_no_request_gets_round_its_reservation(
    start_gateway: StartGateway, auth: Auth, fields: dict[str, Any], most: int | None
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        document = config(upstream, auth)
        document["models"]["a"]["max_output_tokens"] = most
        gateway = await start_gateway(document)
        first = asyncio.create_task(post(gateway, messages=[], **fields))
        await upstream.request_seen.wait()
        assert (await post(gateway)).status == 429
        await upstream.finish()
        assert (await first).status == 200


async def test_cached_tokens_cost_their_own_price_everywhere(
    start_gateway: StartGateway, auth: Auth, tmp_path: Path
) -> None:
    usage = {
        "prompt_tokens": 152_500,
        "completion_tokens": 1000,
        "prompt_tokens_details": {"cached_tokens": 150_000},
    }
    async with ScriptedUpstream(json_reply({"usage": usage})) as upstream:
        document = config(upstream, auth, store={"url": f"sqlite://{tmp_path}/store.db"})
        document["limits"] = {"t": {"key": "subject", "budget": "5 USD/month"}}
        price = {"input": 30.0, "output": 60.0, "cache_read": 3.0}
        document["models"]["a"]["price"] = price
        gateway = await start_gateway(document)
        for _ in range(3):
            assert (await post(gateway, messages=[], max_tokens=1)).status == 200
        samples = await read_until(gateway, lambda now: now.value("gateway_requests_total") == 3)
        answer = await post(gateway, messages=[], max_tokens=1)
    # 2500 tokens at 30 USD a million, 150 000 at 3, and 1000 out at 60.
    each = 0.075 + 0.45 + 0.06
    assert samples.value("gateway_cost_total", currency="USD") == pytest.approx(3 * each)
    left = int((answer.value("ratelimit") or b"").split(b"r=")[1].split(b";")[0])
    assert left == pytest.approx((5 - 3 * each) * 1e6, abs=5000)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/octet-stream"])
async def test_a_maximum_counts_whatever_the_body_calls_itself(
    start_gateway: StartGateway, auth: Auth, kind: str
) -> None:
    body = b'{"messages":[],"max_tokens":90000}'
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: h", bearer(), "Connection: close"]
    head += [f"Content-Type: {kind}", f"Content-Length: {len(body)}", "", ""]
    async with ScriptedUpstream(json_reply({"usage": USAGE})) as upstream:
        document = config(upstream, auth)
        document["routes"][0] |= {"models": [], "upstream": "main"}
        gateway = await start_gateway(document)
        answer = await ask(gateway.port, "\r\n".join(head).encode() + body, "POST")
    assert int(answer.value("x-ratelimit-remaining-tokens") or b"0") <= BURST - 90_000
    assert upstream.requests[0].body == body


@pytest.mark.parametrize(
    "script",
    [
        json_reply(ERROR, status="500 Oops"),
        raw_reply(
            b"HTTP/1.1 400 No\r\nContent-Type: text/event-stream\r\nContent-Length: 36\r\n\r\n"
            + b"data: {}\n\n" * 3
            + b"data\n\n"
        ),
    ],
)
async def test_a_failed_answer_has_no_tokens_and_no_rate(
    start_gateway: StartGateway, auth: Auth, script: Script
) -> None:
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream, auth, limited=False))
        await post(gateway, stream=True)
        samples = await read_until(gateway, lambda now: now.value("gateway_requests_total") == 1)
    assert samples.value("gateway_tokens_total") == 0
    assert samples.value("gen_ai_server_time_per_output_token_seconds_count") == 0


@pytest.mark.parametrize("depth", [1000, 100_000])
async def test_deeply_nested_usage_is_settled(
    start_gateway: StartGateway, auth: Auth, depth: int
) -> None:
    body = b'{"usage":' * depth + b"1" + b"}" * depth
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with ScriptedUpstream(raw_reply(head % len(body) + body)) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        await post(gateway, max_tokens=80_000)
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        response = await post(gateway, messages=[], max_tokens=1)
    assert int(response.value("x-ratelimit-remaining-tokens") or b"0") < BURST - 10_000


@pytest.mark.parametrize("limited", [True, False])
async def test_an_estimate_is_the_same_whoever_asks(
    start_gateway: StartGateway, auth: Auth, limited: bool
) -> None:
    last = b'data: {"choices":[{"finish_reason":"stop"}]}\n\n'
    script = sse_reply([b'data: {"choices":[{}]}\n\n'] * 2 + [last])
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream, auth, limited=limited))
        await post(gateway)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (logged["tokens_in"], logged["tokens_out"]) == (10_012, 3)


@pytest.mark.parametrize("limited", [True, False])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_a_translated_stream_has_the_tokens_that_the_backend_reports(
    start_gateway: StartGateway, auth: Auth, limited: bool, options: dict[str, Any]
) -> None:
    lines = [
        {"message": {"content": "hi"}, "done": False},
        {"message": {}, "done": True, "done_reason": "stop"}
        | {"prompt_eval_count": 30, "eval_count": 20},
    ]
    head = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")
    reply = sse_reply([json.dumps(line).encode() + b"\n" for line in lines], head=head)
    async with ScriptedUpstream(reply) as upstream:
        document = config(upstream, auth, limited=limited)
        document["upstreams"]["main"]["dialect"] = "ollama"
        document["routes"][0]["dialect"] = "openai"
        gateway = await start_gateway(document)
        messages = [{"role": "user", "content": "hi"}]
        response = await post(gateway, stream=True, messages=messages, **options)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (logged["tokens_in"], logged["tokens_out"]) == (30, 20)
    assert (b'"usage":{' in response.body) is bool(options)
