"""Hooks read, change and refuse requests and answers, whole and streamed."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import bridge_client, bridged, texts
from tests.support.client import RawClient, Response, ask, request
from tests.support.exchange import read_stream
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.hooks import DONE, MARK, Closing, chunk_of, text_of
from tests.support.metrics import read
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    reply,
    sse_reply,
    stepped_stream,
)

ANSWER = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5},
}
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5}}\n\n'
HOOKS = "tests.support.hooks"


def hook(name: str, **settings: Any) -> dict[str, Any]:
    return {"type": "plugin", "use": f"{HOOKS}.{name}", **settings}


def config(upstream: ScriptedUpstream, *hooks: dict[str, Any], **route: Any) -> dict[str, Any]:
    named = {f"hook-{number}": one for number, one in enumerate(hooks)}
    return {**simple_config(upstream.url, hooks=list(named), **route), "hooks": named}


def post(text: str = "hello", **fields: Any) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return request("POST", "/v1/chat/completions", body=json.dumps(body).encode())


async def chat(gateway: RunningGateway, text: str = "hello", **fields: Any) -> Response:
    return await ask(gateway.port, post(text, **fields), "POST")


async def streamed(gateway: RunningGateway, text: str = "hello") -> tuple[bytes, bool]:
    """Return the events of a streamed chat, and True if it ended well."""
    async with RawClient(gateway.port) as client:
        await client.send(post(text, stream=True))
        assert (await client.read_head()).status == 200
        return await read_stream(client)


def error_of(events: bytes) -> str:
    last = events.strip().split(b"\n\n")[-1]
    code: str = json.loads(last.removeprefix(b"data: "))["error"]["code"]
    return code


# -- requests -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Shout", "SlowShout"])
async def test_a_request_is_changed_and_its_other_bytes_stay(
    start_gateway: StartGateway, name: str
) -> None:
    body = b'{"model":"m",  "temperature":1e-2,"messages":[{"role":"user","content":"hello"}]}'
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, hook(name)))
        await ask(gateway.port, request("POST", "/v1/chat/completions", body=body), "POST")
    sent = upstream.requests[0].body
    assert sent.startswith(b'{"model":"m",  "temperature":1e-2,"messages":')
    assert json.loads(sent)["messages"] == [{"role": "user", "content": "HELLO"}]


async def test_a_refused_request_reaches_no_backend(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        response = await chat(gateway, f"a {MARK}")
        assert response.status == 400
        assert response.json()["error"]["code"] == "content_refused"
        assert response.json()["error"]["message"] == "Mind your words."
        assert upstream.requests == []
        line = await gateway.wait_for_log(lambda line: line.get("error") == "content_refused")
        assert line["reason"] == "hook 'hook-0': a word"


async def test_a_body_that_is_no_json_does_not_pass_by_the_hooks(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        raw = request("POST", "/v1/chat/completions", body=b'{"t": NaN, "prompt": "secret"}')
        assert (await ask(gateway.port, raw, "POST")).status == 400
        assert upstream.requests == []


async def test_a_changed_request_is_what_a_fallback_gets(start_gateway: StartGateway) -> None:
    """Rules of another model apply to the changed request, never to the one that was sent."""
    replies = iter([reply(b"{}", status="503 No"), reply(b"{}")])
    async with ScriptedUpstream(raw_reply(lambda _: next(replies))) as upstream:
        gateway = await start_gateway(
            {
                "upstreams": {
                    "main": {"endpoints": [{"url": upstream.url}], "retries": {"attempts": 0}}
                },
                "models": {
                    "m": {
                        "upstream": "main",
                        "fallbacks": ["other"],
                        "parameters": {"set": {"temperature": 0}},
                    },
                    "other": {"upstream": "main", "parameters": {"drop": ["temperature"]}},
                },
                "hooks": {"loud": hook("Shout")},
                "routes": [
                    {
                        "name": "main",
                        "path": "/v1/",
                        "auth": "anonymous",
                        "models": ["m"],
                        "hooks": ["loud"],
                    }
                ],
            }
        )
        await chat(gateway, temperature=1)
    bodies = [json.loads(one.body) for one in upstream.requests]
    assert [one["messages"][0]["content"] for one in bodies] == ["HELLO", "HELLO"]
    assert [one.get("temperature") for one in bodies] == [0, None]
    assert [one["model"] for one in bodies] == ["m", "other"]


async def test_a_compressed_request_is_judged(start_gateway: StartGateway) -> None:
    body = gzip.compress(b'{"model":"m","messages":[{"role":"user","content":"hello"}]}')
    raw = request("POST", "/v1/chat/completions", headers=["Content-Encoding: gzip"], body=body)
    async with ScriptedUpstream(json_reply({})) as upstream:
        for name in ("Shout", "Words"):
            gateway = await start_gateway(config(upstream, hook(name)))
            assert (await ask(gateway.port, raw, "POST")).status == 200
    texts = [json.loads(one.body)["messages"][0]["content"] for one in upstream.requests]
    assert texts == ["HELLO", "hello"]
    assert upstream.requests[0].value("content-encoding") is None


async def test_a_costly_body_is_judged_in_the_helper_process(start_gateway: StartGateway) -> None:
    messages = [{"role": "user", "content": f"hello {number}"} for number in range(15_000)]
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, hook("Shout")))
        await ask(gateway.port, post(messages=messages), "POST", patience_s=30)
    (sent,) = upstream.requests
    assert json.loads(sent.body)["messages"][-1]["content"] == "HELLO 14999"


async def test_the_documented_hook_works(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs/guardrails.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "documented_hooks.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = {"type": "plugin", "use": "documented_hooks.Words", "options": {"word": "darn"}}
    events = [chunk_of(part) for part in ("a da", "rn day")]
    async with ScriptedUpstream(sse_reply([*events, DONE])) as upstream:
        gateway = await start_gateway(config(upstream, words))
        data, _ = await streamed(gateway)
        assert text_of(data) == "a *** day"
        assert (await chat(gateway, "darn")).status == 400


# -- whole answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Shout", "SlowShout"])
async def test_a_whole_answer_is_changed_before_its_head_is_sent(
    start_gateway: StartGateway, name: str
) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, hook(name)))
        response = await chat(gateway)
    assert response.json()["choices"][0]["message"]["content"] == "HELLO"
    assert response.value("content-length") == str(len(response.body)).encode()


async def test_a_refused_answer_is_an_error_and_its_tokens_are_counted(
    start_gateway: StartGateway,
) -> None:
    choices = [{"index": 0, "message": {"role": "assistant", "content": MARK}}]
    async with ScriptedUpstream(json_reply({**ANSWER, "choices": choices})) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        response = await chat(gateway)
        assert (response.status, response.json()["error"]["code"]) == (400, "content_refused")
        line = await gateway.wait_for_log(lambda line: line.get("error") == "content_refused")
    assert (line["tokens_in"], line["tokens_out"]) == (3, 5)
    assert MARK.encode() not in response.body


async def test_an_answer_that_no_hook_changes_keeps_its_bytes(start_gateway: StartGateway) -> None:
    body = b'{"choices":[{"index":0, "message":{"content":"fine"}}],  "x":1e-3}'
    async with ScriptedUpstream(raw_reply(reply(body, headers=["ETag: x"]))) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        response = await chat(gateway)
    assert response.body == body
    assert response.value("etag") == b"x"


async def test_hooks_run_in_the_order_they_are_listed(start_gateway: StartGateway) -> None:
    refusing = hook("Words", options={"refuse": "HELLO"})
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, refusing, hook("Shout")))
        assert (await chat(gateway)).status == 200
        gateway = await start_gateway(config(upstream, hook("Shout"), refusing))
        assert (await chat(gateway)).status == 400


async def test_errors_of_backends_pass(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({"error": {"message": MARK}}, status="404 No")) as up:
        gateway = await start_gateway(config(up, hook("Words")))
        assert (await chat(gateway)).status == 404


async def test_no_compressed_answer_is_asked_for_and_one_that_comes_is_refused(
    start_gateway: StartGateway,
) -> None:
    compressed = reply(b"??", headers=["Content-Encoding: br"])
    async with ScriptedUpstream(raw_reply(compressed)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        response = await chat(gateway)
        assert response.json()["error"]["code"] == "hook_unavailable"
        gateway = await start_gateway(config(upstream, hook("Words", on_error="open")))
        assert (await chat(gateway)).status == 200
    assert upstream.requests[0].value("accept-encoding") is None


async def test_plain_text_is_judged(start_gateway: StartGateway) -> None:
    text = reply(b"a darn transcript", content_type="text/plain")
    async with ScriptedUpstream(raw_reply(text)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        assert (await chat(gateway)).body == b"a d*** transcript"


# -- streams ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'["a darn day"]', b'["a d*** day"]'),
        (b'"a darn day"', b'"a d*** day"'),
        (b'[{"text":"darn","n":1}]', b'[{"text":"d***","n":1}]'),
        (b"[[0.1,0.2]]", b"[[0.1,0.2]]"),
    ],
)
async def test_answers_that_are_no_objects_are_judged(
    start_gateway: StartGateway, body: bytes, told: bytes
) -> None:
    async with ScriptedUpstream(raw_reply(reply(body))) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        assert (await chat(gateway)).body == told


async def test_events_that_are_no_objects_are_judged(start_gateway: StartGateway) -> None:
    events = [b"data: a da\n\n", b"data: rn day\n\n", b'data: ["darn"]\n\n', b"data: 1\n\n"]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        data, _ = await streamed(gateway)
    assert data == b'data: a d***\n\ndata:  day\n\ndata: ["d***"]\n\ndata: 1\n\n'


@pytest.mark.parametrize("name", ["Shout", "SlowShout"])
async def test_each_event_is_changed_in_its_order(start_gateway: StartGateway, name: str) -> None:
    words = [f"w{number} " for number in range(50)]
    events = [chunk_of(word) for word in words]
    async with ScriptedUpstream(sse_reply([*events, USAGE, DONE])) as upstream:
        gateway = await start_gateway(config(upstream, hook(name)))
        data, well = await streamed(gateway)
        line = await gateway.wait_for_log(lambda line: line.get("status") == 200)
    assert well
    assert text_of(data) == "".join(words).upper()
    assert data.endswith(USAGE + DONE)
    assert line["tokens_out"] == 5


async def test_a_word_that_is_cut_by_events_is_replaced(start_gateway: StartGateway) -> None:
    events = [chunk_of(word) for word in ("It is a d", "ar", "n fine ", "day.")]
    async with ScriptedUpstream(sse_reply([*events, DONE])) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words", options={"window": 3})))
        data, well = await streamed(gateway)
    assert well
    assert text_of(data) == "It is a d*** fine day."
    assert data.endswith(events[3] + DONE)  # bytes that no hook changes stay


async def test_a_refused_stream_ends_with_one_error_event(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words", options={"window": 1})))
        async with RawClient(gateway.port) as client:
            await client.send(post(stream=True))
            await client.read_head()
            await upstream.release(chunk_of("fine "))
            assert await client.read_chunk() == chunk_of("fine ")
            await upstream.release(chunk_of(f"a {MARK}"))
            data, well = await read_stream(client)
        assert not well
        assert error_of(data) == "content_refused"
        assert data.count(b"data:") == 1
        await upstream.connections[0].wait_client_gone()
        line = await gateway.wait_for_log(lambda line: line.get("error") == "content_refused")
        assert line["end"] == "refused"
        # What was generated is counted, sent or not.
        assert line["tokens_out"] == 2


@pytest.mark.parametrize("streams", [True, False])
async def test_a_withheld_answer_counts_against_limits(
    start_gateway: StartGateway, streams: bool
) -> None:
    """The backend generated it, even if it reports no usage and no token was sent."""
    words = [f"word{number} " for number in range(30)]
    choices = [{"index": 0, "message": {"content": "".join(words) + MARK}}]
    events = [*map(chunk_of, words), chunk_of(MARK), DONE]
    script = sse_reply(events) if streams else json_reply({"choices": choices})
    async with ScriptedUpstream(script) as upstream:
        made = config(upstream, hook("Words", options={"window": 0}), limits=["l"], models=["m"])
        made["models"] = {"m": {"upstream": "main"}}
        made["limits"] = {"l": {"key": "route", "tokens": "1000/hour"}}
        gateway = await start_gateway(made)
        if streams:
            await streamed(gateway)
        else:
            await chat(gateway)
        line = await gateway.wait_for_log(lambda line: line.get("error") == "content_refused")
        refused = await chat(gateway, MARK)
        left = refused.value("x-ratelimit-remaining-tokens")
    assert line["tokens_out"] >= 30
    assert left is not None
    assert int(left) < 1000 - 30


async def test_a_refusal_is_no_failure_of_the_backend(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply([chunk_of(MARK), DONE])) as upstream:
        config_of = config(upstream, hook("Words"))
        config_of["upstreams"]["main"]["outliers"] = {"failures": 1}
        gateway = await start_gateway(config_of)
        for _ in range(3):
            data, _ = await streamed(gateway)
            assert error_of(data) == "content_refused"
    assert len(upstream.requests) == 3


async def test_a_stream_without_a_last_blank_line_is_judged_to_its_end(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply([chunk_of("a"), chunk_of(MARK).strip()])) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        data, well = await streamed(gateway)
    assert not well
    assert MARK.encode() not in data


async def test_texts_that_the_responses_api_repeats_are_changed_alike(
    start_gateway: StartGateway,
) -> None:
    def event(kind: str, **fields: Any) -> bytes:
        data = json.dumps({"type": kind, **fields}).encode()
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)

    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    text = "a darn day"
    events = [
        event("response.created", response={"output": []}),
        *(event("response.output_text.delta", delta=part, **place) for part in ("a da", "rn day")),
        event("response.output_text.done", text=text, **place),
        event("response.completed", response={"output": [{"content": [{"text": text}]}]}),
    ]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words")))
        data, well = await streamed(gateway)
        calls = (await read(gateway)).value("gateway_hook_calls_total", phase="window")
    assert well
    assert data.count(b"a d*** day") == 2
    assert b"darn" not in data
    assert data.startswith(events[0])
    assert calls == 1  # what was judged piece by piece is not judged again


async def test_choices_have_windows_of_their_own(start_gateway: StartGateway) -> None:
    events = [chunk_of(part, index) for part in ("da", "rn") for index in (0, 1)]
    async with ScriptedUpstream(sse_reply([*events, DONE])) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words", options={"window": 2})))
        data, _ = await streamed(gateway)
    assert (text_of(data, 0), text_of(data, 1)) == ("d***", "d***")


async def test_a_translated_stream_is_judged_in_the_callers_dialect(
    start_gateway: StartGateway,
) -> None:
    events = [chunk_of("a da"), chunk_of("rn day"), chunk_of("", finish_reason="stop"), DONE]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Words"), dialect="anthropic"))
        body = {
            "model": "m",
            "max_tokens": 9,
            "stream": True,
            "messages": [{"role": "user", "content": "x"}],
        }
        raw = request("POST", "/v1/messages", body=json.dumps(body).encode())
        response = await ask(gateway.port, raw, "POST")
    deltas = [
        json.loads(line.removeprefix(b"data: "))
        for line in response.body.splitlines()
        if b"text_delta" in line
    ]
    assert "".join(one["delta"]["text"] for one in deltas) == "a d*** day"


async def test_streams_of_lines_are_judged(start_gateway: StartGateway) -> None:
    def line(text: str, **fields: Any) -> bytes:
        message = {"role": "assistant", "content": text}
        return json.dumps({"message": message, "done": False, **fields}).encode() + b"\n"

    head = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")
    lines = [line("a da"), line("rn day"), line("", done=True)]
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'

    async def told(lines: list[bytes]) -> tuple[bytes, bool]:
        async with ScriptedUpstream(sse_reply(lines, head=head)) as upstream:
            made = config(upstream, hook("Words"))
            made["upstreams"]["main"]["dialect"] = "ollama"
            made["routes"][0]["path"] = "/api/"
            gateway = await start_gateway(made)
            async with RawClient(gateway.port) as client:
                await client.send(request("POST", "/api/chat", body=body))
                await client.read_head()
                return await read_stream(client)

    data, well = await told(lines)
    assert well
    texts = [json.loads(one)["message"]["content"] for one in data.splitlines()]
    assert texts == ["a d***", " day", ""]
    assert data.endswith(lines[2])
    data, well = await told([line("fine "), line(MARK)])
    assert not well
    assert json.loads(data.splitlines()[-1])["code"] == "content_refused"


async def test_a_waiting_hook_pauses_the_backend(start_gateway: StartGateway) -> None:
    """Memory is bounded: the backend cannot send on while a hook decides."""
    sent = asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD)
        for _ in range(4000):
            await connection.send(chunk(chunk_of("x" * 4000)))
        sent.set()

    async with ScriptedUpstream(script, send_buffer_bytes=64 * 1024) as upstream:
        gateway = await start_gateway(config(upstream, hook("Stuck", timeout="60s")))
        async with RawClient(gateway.port) as client:
            await client.send(post(stream=True))
            await client.read_head()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await sent.wait()
        await upstream.wait_closed()


async def test_generations_of_a_bridge_pass_the_hooks_of_their_route(
    start_gateway: StartGateway,
) -> None:
    events = [chunk_of("a da"), chunk_of("rn day"), DONE]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        made = bridged(upstream.url)
        made["routes"][0]["hooks"] = ["words"]
        gateway = await start_gateway({**made, "hooks": {"words": hook("Words")}})
        async with bridge_client(gateway.port) as client:
            asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            await client.create("a", body=asked)
            heard = texts(await client.end_of("a"))
            asked["messages"][0]["content"] = MARK
            await client.create("b", body=asked)
            (*_, refused) = await client.end_of("b")
    told = "".join(one["choices"][0]["delta"]["content"] for one in heard)
    assert told == "a d*** day"
    assert refused["type"] == "error"
    assert refused["error"]["code"] == "content_refused"


async def test_a_copy_of_a_request_is_what_the_hooks_left(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        made = config(upstream, hook("Shout"), models=["m"])
        made["models"] = {
            "m": {"upstream": "main", "mirror": {"to": "copy", "share": "100%"}},
            "copy": {"upstream": "main"},
        }
        gateway = await start_gateway(made)
        await chat(gateway)
        await upstream.wait_requests(2)
    texts_sent = [json.loads(one.body)["messages"][0]["content"] for one in upstream.requests]
    assert texts_sent == ["HELLO", "HELLO"]


async def test_a_kept_stream_keeps_what_was_judged(start_gateway: StartGateway) -> None:
    events = [chunk_of("a da"), chunk_of("rn day"), DONE]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        resume = {"ttl": "1m"}
        gateway = await start_gateway(config(upstream, hook("Words"), resume=resume))
        async with RawClient(gateway.port) as client:
            await client.send(post(stream=True))
            head = await client.read_head()
            data, _ = await read_stream(client)
        stream = head.value("x-stream-id")
        assert stream is not None
        target = f"/v1/streams/{stream.decode()}"
        replay = await ask(gateway.port, request("GET", target))
        calls = (await read(gateway)).value("gateway_hook_calls_total", phase="window")
    assert text_of(data) == text_of(replay.body) == "a d*** day"
    assert calls == 1


async def test_an_answer_that_another_backend_continues_is_judged(
    start_gateway: StartGateway,
) -> None:
    async def breaks(connection: UpstreamConnection) -> None:
        asked = await connection.read_request()
        await connection.send(STREAM_HEAD)
        if len(upstream.requests) == 1:
            await connection.send(chunk(chunk_of("one darn ")))
            connection.close()
            return
        assert json.loads(asked.body)["messages"][-1]["content"] == "one d*** "
        for event in (chunk_of("two da"), chunk_of("rn."), DONE):
            await connection.send(chunk(event))
        await connection.send(b"0\r\n\r\n")

    async with ScriptedUpstream(breaks) as upstream:
        made = config(upstream, hook("Words"))
        made["upstreams"]["main"] = {
            "endpoints": [{"url": upstream.url}, {"url": f"{upstream.url}/b", "name": "b"}],
            "continues": "prefill",
        }
        gateway = await start_gateway(made)
        data, well = await streamed(gateway)
    assert well
    assert text_of(data) == "one d*** two d***."


async def test_a_cached_answer_is_judged_once(start_gateway: StartGateway) -> None:
    choices = [{"index": 0, "message": {"role": "assistant", "content": "a darn day"}}]
    async with ScriptedUpstream(json_reply({**ANSWER, "choices": choices})) as upstream:
        made = config(upstream, hook("Words"), models=["m"], cache={"ttl": "1m"})
        made["models"] = {"m": {"upstream": "main"}}
        gateway = await start_gateway(made)
        told = [(await chat(gateway)).json()["choices"][0]["message"]["content"] for _ in "ab"]
        calls = (await read(gateway)).value("gateway_hook_calls_total", phase="window")
    assert told == ["a d*** day"] * 2
    assert (calls, len(upstream.requests)) == (1, 1)


# -- failures -----------------------------------------------------------------------------------


async def test_a_failing_hook_refuses_and_tells_no_content(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Broken")))
        response = await chat(gateway, "something private")
        assert (response.status, response.json()["error"]["code"]) == (503, "hook_unavailable")
        line = await gateway.wait_for_log(lambda line: line.get("event") == "hook")
        assert line["hook"] == "hook-0"
        assert line["reason"].startswith("RuntimeError in on_request, line ")
        assert "private" not in json.dumps(gateway.log_lines)
        assert upstream.requests == []


async def test_a_failing_hook_that_is_open_changes_nothing(start_gateway: StartGateway) -> None:
    events = [chunk_of("a"), chunk_of("b"), DONE]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Broken", on_error="open")))
        data, well = await streamed(gateway, "hello")
        calls = await read(gateway)
    assert well
    assert data == b"".join(events)
    assert json.loads(upstream.requests[0].body)["messages"][0]["content"] == "hello"
    assert calls.value("gateway_hook_calls_total", phase="event", outcome="error") == 3
    assert calls.value("gateway_hook_seconds_count", phase="request") == 1


async def test_a_hook_that_takes_too_long_counts_as_failed(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply([chunk_of("a"), DONE])) as upstream:
        gateway = await start_gateway(config(upstream, hook("Stuck", timeout="20ms")))
        data, well = await streamed(gateway)
        assert not well
        assert error_of(data) == "hook_unavailable"
        samples = await read(gateway)
        assert samples.value("gateway_hook_calls_total", outcome="timeout") == 1
        made = config(upstream, hook("Stuck", timeout="20ms", on_error="open"))
        gateway = await start_gateway(made)
        assert await streamed(gateway) == (chunk_of("a") + DONE, True)


async def test_a_hook_is_closed_with_its_configuration(start_gateway: StartGateway) -> None:
    Closing.closed.clear()
    async with ScriptedUpstream(json_reply(ANSWER)) as upstream:
        gateway = await start_gateway(config(upstream, hook("Closing")))
        await chat(gateway)
        await gateway.server.prepare(gateway.config)
        gateway.server.commit()
        line = await gateway.wait_for_log(lambda line: line.get("phase") == "close")
    assert Closing.closed == ["closed"]
    assert line["reason"].startswith("RuntimeError in close")


async def test_a_client_that_leaves_ends_a_hook_that_waits(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply([chunk_of("a"), DONE])) as upstream:
        gateway = await start_gateway(config(upstream, hook("Stuck", timeout="60s")))
        async with RawClient(gateway.port) as client:
            await client.send(post(stream=True))
            await client.read_head()
        line = await gateway.wait_for_log(lambda line: "end" in line)
        assert line["end"] == "client_abort"
