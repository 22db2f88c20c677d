"""Guardrail webhooks judge requests, answers and windows of streams."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.client import RawClient, Response, ask, request
from tests.support.exchange import read_stream
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.hooks import DONE, MARK, Guardrail, chunk_of, text_of
from tests.support.metrics import read
from tests.support.proxies import OUTGOING, PASSWORD, USER, http_proxy, socks_proxy
from tests.support.upstream import ScriptedUpstream, json_reply, sse_reply, stepped_stream
from tests.support.waiting import eventually

ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}]}
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "first"},
    {"role": "assistant", "content": "yes"},
    {"role": "user", "content": [{"type": "text", "text": "last"}]},
]


def allow(_: dict[str, Any]) -> Any:
    return {"action": "allow"}


def refuse_mark(asked: dict[str, Any]) -> Any:
    if MARK in asked["text"]:
        return {"action": "refuse", "reason": "a bad word", "message": "Not here."}
    return {"action": "allow"}


def moderation(asked: dict[str, Any]) -> Any:
    flagged = MARK in asked["input"]
    categories = {"violence": flagged, "hate": False}
    return {"id": "modr-1", "results": [{"flagged": flagged, "categories": categories}]}


def config(upstream: ScriptedUpstream, guardrail: str, **settings: Any) -> dict[str, Any]:
    hook = {"type": "webhook", "url": guardrail, **settings}
    return {**simple_config(upstream.url, hooks=["guard"]), "hooks": {"guard": hook}}


def post(messages: list[dict[str, Any]] | None = None, **fields: Any) -> bytes:
    messages = messages or [{"role": "user", "content": "hello"}]
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    return request("POST", "/v1/chat/completions", body=body)


async def chat(gateway: RunningGateway, *messages: dict[str, Any], **fields: Any) -> Response:
    return await ask(gateway.port, post(list(messages), **fields), "POST")


async def streamed(gateway: RunningGateway) -> tuple[bytes, bool]:
    async with RawClient(gateway.port) as client:
        await client.send(post(stream=True))
        await client.read_head()
        return await read_stream(client)


async def test_the_last_message_of_the_user_is_judged(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(allow) as guardrail:
        gateway = await start_gateway(config(upstream, guardrail.url, answer=False))
        assert (await chat(gateway, *CONVERSATION)).status == 200
    (asked,) = guardrail.asked
    assert asked == {
        **{"phase": "request", "request_id": asked["request_id"], "route": "main", "model": None},
        **{"subject": None, "tenant": None, "text": "last"},
        "messages": [{"role": "user", "text": "last"}],
    }


async def test_the_whole_conversation_is_judged_if_wanted(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(allow) as guardrail:
        gateway = await start_gateway(config(upstream, guardrail.url, request="all", answer=False))
        await chat(gateway, *CONVERSATION)
    assert guardrail.asked[0]["messages"] == [
        {"role": "system", "text": "Be brief."},
        {"role": "user", "text": "first"},
        {"role": "assistant", "text": "yes"},
        {"role": "user", "text": "last"},
    ]


async def test_a_refused_request_is_told_with_the_message_of_the_service(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as up, Guardrail(refuse_mark) as guardrail:
        gateway = await start_gateway(config(up, guardrail.url))
        response = await chat(gateway, {"role": "user", "content": MARK})
        line = await gateway.wait_for_log(lambda line: line.get("error") == "content_refused")
    assert response.status == 400
    assert response.json()["error"]["message"] == "Not here."
    assert line["reason"] == "hook 'guard': a bad word"
    assert up.requests == []


async def test_moderation_in_openais_shape_refuses_with_the_categories(
    start_gateway: StartGateway,
) -> None:
    settings = {"format": "openai", "model": "omni", "token": {"env": "GUARD_TOKEN"}}
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(moderation) as guardrail:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUARD_TOKEN", "sk-guard")
            gateway = await start_gateway(config(upstream, guardrail.url, **settings))
        assert (await chat(gateway)).status == 200
        response = await chat(gateway, {"role": "user", "content": MARK})
        line = await gateway.wait_for_log(lambda line: line.get("error") == "content_refused")
    assert response.status == 400
    assert line["reason"] == "hook 'guard': violence"
    assert guardrail.asked[0] == {"input": "hello", "model": "omni"}
    assert guardrail.headers[0]["Authorization"] == "Bearer sk-guard"


async def test_a_service_replaces_the_text_of_requests_and_answers(
    start_gateway: StartGateway,
) -> None:
    def censor(asked: dict[str, Any]) -> Any:
        return {"action": "replace", "text": asked["text"].replace("l", "L")}

    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(censor) as guardrail:
        gateway = await start_gateway(config(upstream, guardrail.url))
        response = await chat(gateway, *CONVERSATION)
    sent = json.loads(upstream.requests[0].body)["messages"]
    assert sent[:3] == CONVERSATION[:3]
    assert sent[3]["content"] == [{"type": "text", "text": "Last"}]
    assert response.json()["choices"][0]["message"]["content"] == "heLLo"


async def test_a_stream_is_judged_window_by_window(start_gateway: StartGateway) -> None:
    events = [chunk_of(word) for word in ("one ", "two ", "three ", "four")]
    script = sse_reply([*events, DONE])
    async with ScriptedUpstream(script) as upstream, Guardrail(allow) as guardrail:
        gateway = await start_gateway(config(upstream, guardrail.url, window=8, request="none"))
        data, well = await streamed(gateway)
    assert well
    assert data == b"".join(events) + DONE
    assert guardrail.texts == ["one two ", "three four"]
    assert [one["final"] for one in guardrail.asked] == [False, False]
    assert [one["before"] for one in guardrail.asked] == ["", "one two "]
    assert len(guardrail.connections) == 1  # connections are reused


async def test_held_text_is_not_sent_before_the_verdict(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream, Guardrail(allow) as guardrail:
        guardrail.gate.clear()
        gateway = await start_gateway(config(upstream, guardrail.url, window=1, request="none"))
        async with RawClient(gateway.port) as client:
            await client.send(post(stream=True))
            await client.read_head()
            await upstream.release(chunk_of("one"))
            await guardrail.wait_calls(1)
            assert client.unread == b""
            guardrail.gate.set()
            assert await client.read_chunk() == chunk_of("one")
            await upstream.finish()


async def test_text_that_is_not_held_is_sent_and_a_refusal_follows(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream, Guardrail(refuse_mark) as guardrail:
        guardrail.gate.clear()
        made = config(upstream, guardrail.url, window=1, request="none", hold=False)
        gateway = await start_gateway(made)
        async with RawClient(gateway.port) as client:
            await client.send(post(stream=True))
            await client.read_head()
            await upstream.release(chunk_of(f"{MARK}s"))
            assert await client.read_chunk() == chunk_of(f"{MARK}s")
            guardrail.gate.set()
            data, well = await read_stream(client)
        assert not well
        assert b"content_refused" in data


async def test_the_end_of_a_stream_waits_for_the_last_verdict(start_gateway: StartGateway) -> None:
    events = [chunk_of("fine "), chunk_of(MARK), DONE]
    script = sse_reply(events)
    async with ScriptedUpstream(script) as upstream, Guardrail(refuse_mark) as guardrail:
        for hold, text in ((True, ""), (False, f"fine {MARK}")):
            made = config(upstream, guardrail.url, window=0, request="none", hold=hold)
            data, well = await streamed(await start_gateway(made))
            assert not well
            assert text_of(data) == text


async def test_calls_are_signed(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(allow) as guardrail:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GUARD_SECRET", "s3cret")
            made = config(upstream, guardrail.url, secret={"env": "GUARD_SECRET"})
            gateway = await start_gateway(made)
        await chat(gateway)
    headers, body = guardrail.headers[0], guardrail.bodies[0]
    signed = headers["X-Gateway-Timestamp"].encode() + b"." + body
    expected = hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
    assert headers["X-Gateway-Signature"] == f"v1={expected}"


BAD: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (lambda _: web.Response(status=500), "status 500"),
    (lambda _: web.Response(status=302, headers={"Location": "/judge"}), "status 302"),
    (lambda _: web.Response(body=b"no json"), "its verdict is no JSON"),
    (lambda _: {"action": "perhaps"}, "its verdict has no `action` of allow, refuse or replace"),
    (lambda _: {"action": "replace"}, "its verdict has no `action` of allow, refuse or replace"),
    (lambda _: web.Response(body=b" " * (2 * 1024 * 1024)), "its verdict is too long"),
]


@pytest.mark.parametrize(("verdict", "reason"), BAD)
async def test_a_useless_verdict_counts_as_failed(
    start_gateway: StartGateway, verdict: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(verdict) as guardrail:
        gateway = await start_gateway(config(upstream, guardrail.url))
        assert (await chat(gateway)).status == 503
        line = await gateway.wait_for_log(lambda line: line.get("event") == "hook")
        assert line["reason"] == reason
        gateway = await start_gateway(config(upstream, guardrail.url, on_error="open"))
        assert (await chat(gateway)).status == 200


async def test_a_service_that_is_down_fails_closed_or_open(start_gateway: StartGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        url = f"http://127.0.0.1:{port}/judge"
        gateway = await start_gateway(config(upstream, url))
        response = await chat(gateway)
        assert (response.status, response.json()["error"]["code"]) == (503, "hook_unavailable")
        gateway = await start_gateway(config(upstream, url, on_error="open"))
        assert (await chat(gateway)).status == 200


async def test_a_slow_service_is_asked_once(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(allow) as guardrail:
        guardrail.gate.clear()
        gateway = await start_gateway(config(upstream, guardrail.url, timeout="1s"))
        assert (await chat(gateway)).status == 503
        await eventually(lambda: guardrail.asked)
        assert len(guardrail.asked) == 1
        calls = await read(gateway)
        assert calls.value("gateway_hook_calls_total", phase="request", outcome="timeout") == 1


@pytest.mark.parametrize("kind", ["http", "socks5"])
async def test_a_service_is_reached_through_a_proxy(
    start_gateway: StartGateway, tmp_path: Path, kind: str
) -> None:
    proxy = http_proxy(tmp_path) if kind == "http" else socks_proxy()
    async with (
        ScriptedUpstream(json_reply(ANSWER)) as upstream,
        Guardrail(allow) as guardrail,
        proxy as url,
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROXY_PASSWORD", PASSWORD)
            through = {"url": url, "username": USER, "password": {"env": "PROXY_PASSWORD"}}
            gateway = await start_gateway(config(upstream, guardrail.url, proxy=through))
        assert (await chat(gateway)).status == 200
        assert guardrail.peers == {OUTGOING}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROXY_PASSWORD", "wr0ng")
            gateway = await start_gateway(config(upstream, guardrail.url, proxy=through))
        assert (await chat(gateway)).status == 503
        line = await gateway.wait_for_log(lambda line: line.get("event") == "hook")
        address = url.partition("://")[2]
        assert line["reason"].startswith(f"cannot be asked: proxy {address} refuses")


async def test_calls_at_the_same_time_are_bounded(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(allow) as guardrail:
        guardrail.gate.clear()
        made = config(upstream, guardrail.url, concurrency=2, answer=False, timeout="10s")
        gateway = await start_gateway(made)
        chats = [asyncio.create_task(chat(gateway)) for _ in range(6)]
        await guardrail.wait_calls(2)
        guardrail.gate.set()
        assert {(await one).status for one in chats} == {200}
    assert guardrail.most_at_once == 2
    assert len(guardrail.asked) == 6


async def test_a_text_that_is_too_large_counts_as_failed(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream, Guardrail(allow) as guardrail:
        gateway = await start_gateway(config(upstream, guardrail.url, max_bytes="1KiB"))
        response = await chat(gateway, {"role": "user", "content": "x" * 2000})
        assert response.json()["error"]["code"] == "hook_unavailable"
        assert guardrail.asked == []
