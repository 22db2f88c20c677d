"""A share of requests is copied to another model, which no caller notices."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.config import ConfigError, load_text
from gateway.telemetry.semconv import NAMES
from gateway.telemetry.traces.spans import build
from tests.support.client import Response, ask, request
from tests.support.gateway import RunningGateway, StartGateway, config_text
from tests.support.metrics import read
from tests.support.upstream import (
    ScriptedUpstream,
    UpstreamConnection,
    hang,
    json_reply,
    raw_reply,
    reply,
    reply_then_close,
    sse_reply,
)
from tests.support.waiting import eventually

USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
ANSWER: dict[str, Any] = {
    "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
)


def config(main: ScriptedUpstream, other: ScriptedUpstream, **mirror: Any) -> dict[str, Any]:
    return {
        "admin": {"listen": "127.0.0.1:0"},
        "telemetry": {"traces": {"sample": 1.0}},
        "upstreams": {
            "main": {"endpoints": [{"url": main.url}], "retries": {"attempts": 0}},
            "other": {"endpoints": [{"url": other.url}], "retries": {"attempts": 0}},
        },
        "limits": {"l": {"key": "route", "tokens": "100000/minute", "requests": "50/minute"}},
        "models": {
            "m": {"upstream": "main", "mirror": {"to": "new", "share": "100%", **mirror}},
            "new": {"upstream": "other", "model": "their-own"},
        },
        "routes": [
            {
                "name": "main",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["m"],
                "limits": ["l"],
            }
        ],
    }


async def post(
    gateway: RunningGateway, *headers: str, path: str = "/v1/chat/completions", **fields: Any
) -> Response:
    body = json.dumps({"model": "m", "messages": [], **fields}).encode()
    return await ask(gateway.port, request("POST", path, headers=headers, body=body), "POST")


async def line_of_copy(gateway: RunningGateway) -> Any:
    return await gateway.wait_for_log(lambda line: line.get("event") == "shadow")


async def test_a_copy_is_sent_under_the_other_name_and_costs_nothing(
    start_gateway: StartGateway,
) -> None:
    other: dict[str, Any] = {**ANSWER, "usage": {**USAGE, "completion_tokens": 9}}
    async with (
        ScriptedUpstream(json_reply(ANSWER)) as main,
        ScriptedUpstream(json_reply(other)) as new,
    ):
        gateway = await start_gateway(config(main, new))
        path = "/v1/chat/completions?key=callers"
        answer = await post(gateway, "X-Api-Key: callers", path=path, temperature=0.5)
        line = await line_of_copy(gateway)
        samples = await read(gateway)
        again = await post(gateway, "Cache-Control: no-store")
    (copy,) = new.requests
    (original, _) = main.requests
    assert answer.json() == ANSWER
    assert json.loads(copy.body) == {"model": "their-own", "messages": [], "temperature": 0.5}
    assert json.loads(original.body)["model"] == "m"
    assert (original.target, original.value("x-api-key")) == (path, b"callers")
    assert (copy.target, copy.value("x-api-key")) == ("/v1/chat/completions", None)
    assert copy.value("x-request-id") != original.value("x-request-id")
    assert copy.value("traceparent") != original.value("traceparent")
    asked = (answer.value("x-request-id") or b"").decode()
    assert (line["shadow_of"], line["shadow"], line["result"]) == (asked, "new", "ok")
    assert (line["tokens_in"], line["tokens_out"], line["status"]) == (100, 9, 200)
    name = "gateway_shadow_requests_total"
    assert samples.value(name, model="m", shadow="new", result="ok") == 1
    assert samples.value("gateway_shadow_tokens_total", type="output") == 9
    assert samples.value("gateway_tokens_total") == 107
    assert samples.value("gateway_requests_total") == 1
    assert again.value("x-ratelimit-remaining-requests") == b"48"
    lines = [one for one in gateway.log_lines if one["event"] == "request"]
    assert [one["tokens_out"] for one in lines] == [7, 7]


async def test_nobody_waits_for_a_copy_and_a_failing_one_changes_nothing(
    start_gateway: StartGateway,
) -> None:
    async with (
        ScriptedUpstream(sse_reply(EVENTS)) as main,
        ScriptedUpstream(reply_then_close(reply(b"{}", status="500 No"))) as new,
    ):
        gateway = await start_gateway(config(main, new))
        first = await post(gateway, stream=True)
        line = await line_of_copy(gateway)
        new.script = hang
        second = await post(gateway, stream=True)
        await new.wait_requests(2)
        shadows = gateway.server.runtime.shadows
        assert shadows.running["new"] == 1
        await gateway.server.stop()
        assert shadows.running["new"] == 0
    assert first.body == second.body
    assert b"[DONE]" in first.body
    assert (line["result"], line["status"]) == ("error", 500)
    results = [one["result"] for one in gateway.log_lines if one["event"] == "shadow"]
    assert results == ["error", "cancelled"]


async def test_too_many_copies_are_dropped(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as main, ScriptedUpstream(hang) as new:
        gateway = await start_gateway(config(main, new, concurrency=2, timeout="0.3s"))
        for _ in range(3):
            await post(gateway)
        await eventually(lambda: gateway.server.runtime.shadows.running["new"] == 0)
        samples = await read(gateway)
    name = "gateway_shadow_requests_total"
    counted = {one: samples.value(name, result=one) for one in ("dropped", "timeout", "ok")}
    assert counted == {"dropped": 1, "timeout": 2, "ok": 0}


async def test_a_streamed_copy_is_timed_and_translated(start_gateway: StartGateway) -> None:
    events = (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"a","type":"message",'
        b'"role":"assistant","model":"x","content":[],"stop_reason":null,"stop_sequence":null,'
        b'"usage":{"input_tokens":3,"output_tokens":1}}}\n\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
        b'"content_block":{"type":"text","text":""}}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        b'"delta":{"type":"text_delta","text":"Hi"}}\n\n',
        b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
        b'"stop_sequence":null},"usage":{"output_tokens":5}}\n\n',
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    )
    async with (
        ScriptedUpstream(sse_reply(EVENTS)) as main,
        ScriptedUpstream(sse_reply(events)) as new,
    ):
        document = config(main, new)
        document["upstreams"]["other"]["dialect"] = "anthropic"
        document["routes"][0]["dialect"] = "openai"
        gateway = await start_gateway(document)
        message = [{"role": "user", "content": "Hi"}]
        await post(gateway, stream=True, messages=message)
        line = await line_of_copy(gateway)
        samples = await read(gateway)
    assert new.requests[0].target == "/v1/messages"
    assert json.loads(new.requests[0].body)["model"] == "their-own"
    assert (line["result"], line["tokens_out"]) == ("ok", 5)
    assert line["ttft_ms"] > 0
    assert samples.value("gateway_shadow_time_to_first_token_seconds_count") == 1


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        (["Cache-Control: no-store"], {}),
        ([], {"store": False}),
        ([], {"store": True}),
        ([], {"previous_response_id": "r"}),
        ([], {"tools": [{"type": "web_search"}]}),
        ([], {"path": "/v1/batches"}),
        ([], {"path": "/v1/images/generations"}),
    ],
)
async def test_some_requests_are_never_copied(
    start_gateway: StartGateway, headers: list[str], fields: dict[str, Any]
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as main, ScriptedUpstream() as new:
        gateway = await start_gateway(config(main, new))
        assert (await post(gateway, *headers, **fields)).status == 200
        assert not gateway.server.runtime.shadows.running["new"]
        assert (await read(gateway)).of("gateway_shadow_requests_total") == []


async def test_requests_that_failed_and_stored_answers_are_not_copied(
    start_gateway: StartGateway,
) -> None:
    replies = iter([reply(b"{}", status="400 No"), reply(json.dumps(ANSWER).encode())])
    async with (
        ScriptedUpstream(raw_reply(lambda _: next(replies))) as main,
        ScriptedUpstream(json_reply(ANSWER)) as new,
    ):
        document = config(main, new)
        document["routes"][0] |= {"cache": {}, "mirror": document["models"]["m"].pop("mirror")}
        gateway = await start_gateway(document)
        for _ in range(4):
            await post(gateway)
        await line_of_copy(gateway)
        assert (len(main.requests), len(new.requests)) == (2, 1)


async def test_callers_go_first_where_the_other_model_has_a_queue(
    start_gateway: StartGateway,
) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        began.set()
        await goes_on.wait()
        await json_reply(ANSWER)(connection)

    async with ScriptedUpstream(json_reply(ANSWER)) as main, ScriptedUpstream(script) as new:
        document = config(main, new)
        document["models"]["new"]["admission"] = {"concurrency": 1}
        document["routes"][0]["models"].append("new")
        gateway = await start_gateway(document)
        own = asyncio.create_task(post(gateway, model="new"))
        await began.wait()
        await post(gateway)
        line = await line_of_copy(gateway)
        assert line["result"] == "dropped"
        own.cancel()
        goes_on.set()


async def test_the_trace_of_a_copy_links_to_the_request(start_gateway: StartGateway) -> None:
    async with (
        ScriptedUpstream(json_reply(ANSWER)) as main,
        ScriptedUpstream(json_reply(ANSWER)) as new,
    ):
        document = config(main, new)
        gateway = await start_gateway(document)
        await post(gateway)
        await line_of_copy(gateway)
        records = json.loads(gateway.server.state.records.take(0))["records"]
    original = next(one for one in records if one["model"] == "m")
    copy = next(one for one in records if one["model"] == "new")
    assert copy["shadow_of"] == original["request_id"]
    assert copy["link"][:2] == [original["trace"], original["span"]]
    assert original["events"][0][0] == "copied"
    span = build(copy, NAMES["1.44"])[0]
    assert span.links == [(original["trace"], original["span"])]
    assert span.attributes["gateway.shadow_of"] == original["request_id"]


def test_a_model_is_not_its_own_mirror() -> None:
    document = {
        "upstreams": {"u": {"endpoints": [{"url": "http://127.0.0.1:1"}]}},
        "models": {"m": {"upstream": "u", "mirror": {"to": "m"}}},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["m"]}],
    }
    with pytest.raises(ConfigError, match="is the model itself"):
        load_text(config_text(document, {}))
    document["models"] = {"m": {"upstream": "u", "mirror": {"to": "n"}}}
    with pytest.raises(ConfigError, match="there is no model 'n'"):
        load_text(config_text(document, {}))
