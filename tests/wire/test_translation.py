"""Translation over the wire: heads, errors, broken answers, limits, fallbacks, failover."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import RawClient, Response, request
from tests.support.exchange import ask, read_stream
from tests.support.gateway import StartGateway
from tests.support.metrics import read as read_metrics
from tests.support.refusal import assert_error
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    hang,
    json_reply,
    raw_reply,
    reply,
)

FIXTURES = Path(__file__).parents[1] / "dialects/fixtures"
DIALECTS = ("openai", "anthropic", "ollama")
PAIRS = [(one, other) for one in DIALECTS for other in DIALECTS if one != other]
PATHS = {
    "openai": "/r/v1/chat/completions",
    "anthropic": "/r/v1/messages",
    "ollama": "/r/api/chat",
}
STREAM_TYPES = {
    "openai": b"text/event-stream",
    "anthropic": b"text/event-stream",
    "ollama": b"application/x-ndjson",
}
STREAMS = {
    name: (FIXTURES / f"{name}.{'ndjson' if name == 'ollama' else 'sse'}").read_bytes()
    for name in DIALECTS
}
WHOLES = {name: (FIXTURES / f"{name}.json").read_bytes() for name in DIALECTS}
ENDS = {"openai": b"data: [DONE]\n\n", "anthropic": b"message_stop", "ollama": b'"done":true'}


def config(
    caller: str, backend: str, url: str, *, upstream: Any = None, **route: Any
) -> dict[str, Any]:
    return {
        "upstreams": {
            "main": {"dialect": backend, "endpoints": [{"url": url}], **(upstream or {})}
        },
        "models": {"m": {"upstream": "main", "model": "acme/m"}},
        "routes": [
            {
                "name": "r",
                "path": "/r/",
                "auth": "anonymous",
                "dialect": caller,
                "models": ["m"],
                **route,
            }
        ],
    }


def chat(caller: str, *headers: str, **fields: Any) -> bytes:
    """A chat, streamed unless said otherwise."""
    body = {
        "model": "m",
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
        **({"max_tokens": 50} if caller == "anthropic" else {}),
        **fields,
    }
    lines = ["Content-Type: application/json", *headers]
    return request("POST", PATHS[caller], headers=lines, body=json.dumps(body).encode())


def stream_head(backend: str) -> bytes:
    return STREAM_HEAD.replace(b"text/event-stream", STREAM_TYPES[backend])


def streams(backend: str, *events: bytes, broken: bool = False) -> Script:
    """These events, then the end, or a close without one."""

    async def script(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            await connection.send(stream_head(backend) + b"".join(map(chunk, events)))
            if broken:
                return
            await connection.send(LAST_CHUNK)

    return script


def answers(backend: str) -> Script:
    """The fixture, whole or streamed."""
    stream = stream_head(backend) + chunk(STREAMS[backend]) + LAST_CHUNK
    return raw_reply(
        lambda seen: stream if json.loads(seen.body).get("stream") else reply(WHOLES[backend])
    )


# -- what the backend gets ---------------------------------------------------------------------


@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_the_backend_is_asked_at_its_own_path_with_its_own_headers(
    start_gateway: StartGateway, caller: str, backend: str
) -> None:
    own = ["Anthropic-Version: 2021-01-01", "anthropic-beta: x", "OpenAI-Organization: acme"]
    async with ScriptedUpstream(answers(backend)) as upstream:
        gateway = await start_gateway(config(caller, backend, upstream.url + "/base"))
        raw = chat(caller, *own, "Accept-Encoding: gzip", "Authorization: Bearer sk-1")
        response = await ask(gateway.port, raw.replace(b" HTTP/1.1", b"?beta=true HTTP/1.1", 1))
        (seen,) = upstream.requests
    assert response.status == 200
    paths = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
    assert (seen.method, seen.target) == ("POST", "/base" + paths[backend])
    assert json.loads(seen.body)["model"] == "acme/m"
    assert seen.value("content-type") == b"application/json"
    assert seen.value("content-length") == str(len(seen.body)).encode()
    for name in ("accept-encoding", "anthropic-beta", "openai-organization"):
        assert seen.value(name) is None
    if backend == "anthropic":
        assert seen.value("anthropic-version") == b"2023-06-01"
        assert (seen.value("x-api-key"), seen.value("authorization")) == (b"sk-1", None)
    else:
        assert seen.value("anthropic-version") is None
        assert (seen.value("x-api-key"), seen.value("authorization")) == (None, b"Bearer sk-1")


async def test_what_the_configuration_sets_stands_once_and_hides_the_callers(
    start_gateway: StartGateway,
) -> None:
    own = {
        "headers": {"anthropic-version": "2026-01-01"},
        "credentials": {"header": "x-api-key", "value": {"env": "BACKEND_KEY"}},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKEND_KEY", "backend-key")
        async with ScriptedUpstream(answers("anthropic")) as upstream:
            document = config("openai", "anthropic", upstream.url, upstream=own)
            gateway = await start_gateway(document)
            assert (await ask(gateway.port, chat("openai", "x-api-key: mine"))).status == 200
            (seen,) = upstream.requests
    assert seen.value("anthropic-version") == b"2026-01-01"
    assert seen.value("x-api-key") == b"backend-key"
    assert seen.value("authorization") is None


async def test_a_route_without_models_translates_as_well(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(answers("ollama")) as upstream:
        document = config("openai", "ollama", upstream.url, upstream={}, models=[])
        document["routes"][0]["upstream"] = "main"
        gateway = await start_gateway(document)
        assert (await ask(gateway.port, chat("openai"))).status == 200
        got = await ask(gateway.port, request("GET", "/r/v1/chat/completions"))
        (seen,) = upstream.requests
    assert json.loads(seen.body)["model"] == "m"
    assert_error(got, 400, code="not_translatable")


async def test_a_request_that_is_nested_too_deeply_is_refused(start_gateway: StartGateway) -> None:
    schema = "[" * 600 + "]" * 600
    tools = f'[{{"type":"function","function":{{"name":"f","parameters":{{"x":{schema}}}}}}}]'
    body = f'{{"model":"m","messages":[],"tools":{tools}}}'.encode()
    raw = request("POST", PATHS["openai"], headers=["Content-Type: application/json"], body=body)
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        response = await ask(gateway.port, raw)
        assert upstream.requests == []
    assert_error(response, 400, code="invalid_json")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_so_is_an_answer(start_gateway: StartGateway, stream: bool) -> None:
    deep = '{"x":' * 400 + "1" + "}" * 400
    call = f'{{"function":{{"name":"f","arguments":{deep}}}}}'
    body = f'{{"message":{{"content":"","tool_calls":[{call}]}},"done":true}}\n'.encode()
    script = streams("ollama", body) if stream else raw_reply(reply(body))
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config("openai", "ollama", upstream.url))
        response = await ask(gateway.port, chat("openai", stream=stream))
    assert b"upstream_invalid_response" in response.body
    assert response.status == (200 if stream else 502)
    assert response.clean_end is not stream


# -- what the caller gets ----------------------------------------------------------------------


@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_head_and_body_of_an_answer_fit_each_other(
    start_gateway: StartGateway, caller: str, backend: str
) -> None:
    async with ScriptedUpstream(answers(backend)) as upstream:
        gateway = await start_gateway(config(caller, backend, upstream.url))
        stream = await ask(gateway.port, chat(caller))
        whole = await ask(gateway.port, chat(caller, stream=False))
    assert stream.value("content-type") == STREAM_TYPES[caller]
    assert stream.value("content-length") is None
    assert (stream.clean_end, ENDS[caller] in stream.body) == (True, True)
    assert whole.value("content-type") == b"application/json"
    assert whole.value("content-length") == str(len(whole.body)).encode()
    assert b"Let me look" in whole.body


async def test_a_large_whole_answer_passes(start_gateway: StartGateway) -> None:
    text = "x" * 1_000_000
    body = {"message": {"content": text}, "done": True, "model": "m"}
    async with ScriptedUpstream(json_reply(body)) as upstream:
        gateway = await start_gateway(config("openai", "ollama", upstream.url))
        response = await ask(gateway.port, chat("openai", stream=False))
    assert response.json()["choices"][0]["message"]["content"] == text


async def test_an_event_goes_on_as_soon_as_it_is_there(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        events = [event + b"\n\n" for event in STREAMS["anthropic"].split(b"\n\n")[:-1]]
        async with RawClient(gateway.port) as client:
            await client.send(chat("openai"))
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(stream_head("anthropic") + chunk(events[0]))
            await client.read_head()
            assert b'"role":"assistant"' in (await client.read_chunk() or b"")
            await connection.send(chunk(b"".join(events[1:4])))
            assert b"Two questions," in (await client.read_chunk() or b"")
            await connection.send(chunk(b"".join(events[4:])) + LAST_CHUNK)
            rest, clean = await read_stream(client)
    assert (clean, rest.endswith(ENDS["openai"])) == (True, True)


async def test_a_client_that_does_not_read_stalls_its_upstream_and_loses_nothing(
    start_gateway: StartGateway,
) -> None:
    kib = 1024
    line = json.dumps({"message": {"content": "x" * 16 * kib}, "done": False}).encode() + b"\n"
    async with ScriptedUpstream(send_buffer_bytes=64 * kib) as upstream:
        gateway = await start_gateway(config("openai", "ollama", upstream.url))
        async with RawClient(gateway.port, receive_buffer_bytes=64 * kib) as client:
            client.pause_reading()
            await client.send(chat("openai"))
            connection = await upstream.accept()
            await connection.read_request()
            await connection.send(stream_head("ollama"))
            count = 0
            with suppress(TimeoutError):
                while count < 4096:
                    count += 1
                    async with asyncio.timeout(0.3):
                        await connection.send(chunk(line))
            assert count < 1024
            client.resume_reading()
            await connection.send(chunk(b'{"done":true}\n') + LAST_CHUNK)
            response = await client.read_response()
    assert response.clean_end
    assert response.body.count(b"x" * 16 * kib) == count


async def test_a_client_that_leaves_stops_the_backend(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config("anthropic", "openai", upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(chat("anthropic"))
            connection = await upstream.accept()
            await connection.read_request()
            first = STREAMS["openai"].partition(b"\n\n")[0] + b"\n\n"
            await connection.send(stream_head("openai") + chunk(first))
            await client.read_head()
            client.reset()
        await connection.wait_client_gone()
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["end"] == "client_abort"


# -- errors ------------------------------------------------------------------------------------


def message_of(caller: str, response: Response) -> str:
    error = response.json()["error"]
    return str(error if caller == "ollama" else error["message"])


REFUSALS = {
    "openai": {"error": {"message": "Slow down.", "type": "tokens", "code": "rate_limit_exceeded"}},
    "anthropic": {"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down."}},
    "ollama": {"error": "Slow down."},
}


@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_a_refusal_has_the_callers_shape_and_its_own_status_and_words(
    start_gateway: StartGateway, caller: str, backend: str
) -> None:
    script = json_reply(REFUSALS[backend], status="429 Slow", headers=["Retry-After: 7"])
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(caller, backend, upstream.url))
        response = await ask(gateway.port, chat(caller))
    assert (response.status, response.value("retry-after")) == (429, b"7")
    assert message_of(caller, response) == "Slow down."
    if caller == "anthropic":
        assert response.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("status", "body", "expected", "message"),
    [
        ("529 Overloaded", b'{"type":"error","error":{"message":"Busy"}}', 503, "Busy"),
        ("500 Oops", b"<html>nginx</html>", 500, "nginx"),
        ("500 Oops", b"", 500, "The model backend answered with status 500."),
        ("422 No", b'{"detail":"bad"}', 422, "bad"),
        ("400 No", b'{"object":"error","message":"too long","code":400}', 400, "too long"),
    ],
)
async def test_errors_of_any_shape_are_told(
    start_gateway: StartGateway, status: str, body: bytes, expected: int, message: str
) -> None:
    async with ScriptedUpstream(raw_reply(reply(body, status=status))) as upstream:
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        response = await ask(gateway.port, chat("openai", stream=False))
    assert_error(response, expected)
    assert response.json()["error"]["message"] == message


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"<html>"),
        reply(b"[]"),
        reply(WHOLES["openai"]),
        reply(gzip.compress(WHOLES["anthropic"]), headers=["Content-Encoding: gzip"]),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["html", "list", "other-dialect", "gzip", "204", "302"],
)
async def test_what_is_no_answer_is_a_bad_gateway(
    start_gateway: StartGateway, answer: bytes
) -> None:
    async with ScriptedUpstream(raw_reply(answer)) as upstream:
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        response = await ask(gateway.port, chat("openai", stream=False))
    assert_error(response, 502, code="upstream_invalid_response")


async def test_a_whole_answer_where_a_stream_was_asked_for_is_a_bad_gateway(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(raw_reply(reply(WHOLES["anthropic"]))) as upstream:
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        response = await ask(gateway.port, chat("openai"))
    assert_error(response, 502, code="upstream_invalid_response")


async def test_a_whole_answer_that_breaks_off_is_a_bad_gateway(start_gateway: StartGateway) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(reply(WHOLES["anthropic"])[:-9])

    async with ScriptedUpstream(script) as upstream:
        document = config("openai", "anthropic", upstream.url)
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat("openai", stream=False))
    assert_error(response, 502, code="upstream_reset")


@pytest.mark.parametrize("how", ["death", "clean end", "error event", "garbage"])
@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_a_stream_that_breaks_off_ends_with_an_error_of_the_callers_dialect(
    start_gateway: StartGateway, caller: str, backend: str, how: str
) -> None:
    end = b"\n" if backend == "ollama" else b"\n\n"
    events = [event + end for event in STREAMS[backend].split(end)[:5]]
    code = "upstream_reset"
    if how == "error event":
        error = json.dumps(REFUSALS[backend]).encode()
        events.append(error + end if backend == "ollama" else b"data: " + error + end)
        code = "Slow down."
    elif how == "clean end":
        code = "upstream_truncated"
    elif how == "garbage":
        events.append(b'{"cho' + end if backend == "ollama" else b'data: {"cho' + end)
        code = "upstream_invalid_response"
    async with ScriptedUpstream(streams(backend, *events, broken=how == "death")) as upstream:
        gateway = await start_gateway(config(caller, backend, upstream.url))
        response = await ask(gateway.port, chat(caller))
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (response.status, response.clean_end) == (200, False)
    assert b"Two questions," in response.body
    assert ENDS[caller] not in response.body
    last = response.body.rstrip(b"\n").rpartition(b"\n")[2].removeprefix(b"data: ")
    told = json.loads(last)["error"]
    if caller == "anthropic":
        assert b"event: error\n" in response.body
        assert json.loads(last)["type"] == "error"
    if how == "error event":
        assert (told if caller == "ollama" else told["message"]) == code
    else:
        assert line["error"] == code
    assert line["end"] == "upstream_reset"


async def test_an_endpoint_whose_streams_end_too_early_is_taken_out(
    start_gateway: StartGateway,
) -> None:
    script = streams("openai", STREAMS["openai"].partition(b"\n\n")[0] + b"\n\n")
    async with ScriptedUpstream(script) as upstream:
        own = {"outliers": {"failures": 2}}
        gateway = await start_gateway(config("anthropic", "openai", upstream.url, upstream=own))
        for _ in range(2):
            assert not (await ask(gateway.port, chat("anthropic"))).clean_end
        main = gateway.server.runtime.upstreams["main"]
        assert main.state(main.endpoints[0]).value == "ejected"
        assert main.endpoints[0].in_flight == 0


@pytest.mark.parametrize(("caller", "backend"), [("openai", "ollama"), ("anthropic", "openai")])
async def test_a_translated_stream_can_be_come_back_to(
    start_gateway: StartGateway, caller: str, backend: str
) -> None:
    async with ScriptedUpstream(answers(backend)) as upstream:
        document = config(caller, backend, upstream.url, resume={})
        gateway = await start_gateway(document)
        first = await ask(gateway.port, chat(caller))
        ids = [line[4:] for line in first.body.splitlines() if line.startswith(b"id: ")]
        again = await ask(gateway.port, chat(caller, f"Last-Event-ID: {ids[2].decode()}"))
    assert first.clean_end
    assert again.clean_end
    assert first.body.endswith(again.body)
    assert again.body.count(b"id: ") == len(ids) - 3
    assert len(upstream.requests) == 1


# -- fields that some backends do not take --------------------------------------------------------


class Particular:
    """A backend that refuses some fields, in its own words."""

    def __init__(self, *fields: str, words: str = "'{}' is not permitted") -> None:
        self.bodies: list[dict[str, Any]] = []
        self._fields = fields
        self._words = words

    def answer(self, seen: Any) -> bytes:
        body = json.loads(seen.body)
        self.bodies.append(body)
        for field in self._fields:
            if field in body:
                error = {"error": {"message": self._words.format(field), "type": "x"}}
                return reply(json.dumps(error).encode(), status="400 Bad Request")
        return stream_head("openai") + chunk(STREAMS["openai"]) + LAST_CHUNK


@pytest.mark.parametrize("words", ["Unknown parameter: '{}'.", "Bad request."])
async def test_stream_options_are_left_out_once_a_backend_refused_them(
    start_gateway: StartGateway, words: str
) -> None:
    backend = Particular("stream_options", words=words)
    async with ScriptedUpstream(raw_reply(backend.answer)) as upstream:
        gateway = await start_gateway(config("anthropic", "openai", upstream.url))
        answers = [await ask(gateway.port, chat("anthropic")) for _ in range(3)]
        main = gateway.server.runtime.upstreams["main"]
        assert main.endpoints[0].in_flight == 0
    assert [answer.clean_end and answer.status for answer in answers] == [200] * 3
    assert ["stream_options" in body for body in backend.bodies] == [True, False, False, False]


async def test_a_backend_that_took_stream_options_is_not_asked_twice(
    start_gateway: StartGateway,
) -> None:
    backend = Particular("stop", words="No.")
    async with ScriptedUpstream(raw_reply(backend.answer)) as upstream:
        gateway = await start_gateway(config("anthropic", "openai", upstream.url))
        assert (await ask(gateway.port, chat("anthropic"))).status == 200
        refused = await ask(gateway.port, chat("anthropic", stop_sequences=["x"]))
    assert (refused.status, message_of("anthropic", refused)) == (400, "No.")
    assert len(backend.bodies) == 2


async def test_a_400_for_another_reason_is_told_and_teaches_nothing(
    start_gateway: StartGateway,
) -> None:
    backend = Particular("model", words="No such model.")
    async with ScriptedUpstream(raw_reply(backend.answer)) as upstream:
        gateway = await start_gateway(config("anthropic", "openai", upstream.url))
        for _ in range(2):
            response = await ask(gateway.port, chat("anthropic"))
            assert (response.status, message_of("anthropic", response)) == (400, "No such model.")
    assert ["stream_options" in body for body in backend.bodies] == [True, False, True, False]


async def test_the_other_field_for_the_maximum_is_learnt(start_gateway: StartGateway) -> None:
    words = "Unsupported parameter: '{}' is not supported with this model."
    for first, second in (
        ("max_completion_tokens", "max_tokens"),
        ("max_tokens", "max_completion_tokens"),
    ):
        backend = Particular(first, words=words)
        async with ScriptedUpstream(raw_reply(backend.answer)) as upstream:
            own = {"translation": {"max_tokens_field": first}}
            document = config("anthropic", "openai", upstream.url, upstream=own)
            gateway = await start_gateway(document)
            for _ in range(2):
                assert (await ask(gateway.port, chat("anthropic"))).status == 200
        assert [first in body for body in backend.bodies] == [True, False, False]
        assert [body.get(second) for body in backend.bodies] == [None, 50, 50]


async def test_several_refused_fields_are_learnt_in_turn(start_gateway: StartGateway) -> None:
    backend = Particular("max_completion_tokens", "reasoning_effort", "user")
    async with ScriptedUpstream(raw_reply(backend.answer)) as upstream:
        gateway = await start_gateway(config("anthropic", "openai", upstream.url))
        thinking = {"type": "enabled", "budget_tokens": 1024}
        asked = chat("anthropic", thinking=thinking, metadata={"user_id": "ann"})
        for _ in range(2):
            response = await ask(gateway.port, asked)
            assert response.status == 200
            assert response.value("x-translation-dropped") == b"thinking, user"
    assert len(backend.bodies) == 5


async def test_what_one_model_refuses_another_of_the_upstream_is_still_sent(
    start_gateway: StartGateway,
) -> None:
    backend = Particular("reasoning_effort")

    def answer(seen: Any) -> bytes:
        if json.loads(seen.body)["model"] == "acme/m":
            return backend.answer(seen)
        return stream_head("openai") + chunk(STREAMS["openai"]) + LAST_CHUNK

    async with ScriptedUpstream(raw_reply(answer)) as upstream:
        document = config("anthropic", "openai", upstream.url, models=["m", "n"])
        document["models"]["n"] = {"upstream": "main", "model": "acme/n"}
        gateway = await start_gateway(document)
        for model in ("m", "m", "n"):
            thinking = {"type": "enabled", "budget_tokens": 1024}
            asked = chat("anthropic", model=model, thinking=thinking)
            assert (await ask(gateway.port, asked)).status == 200
        sent = [json.loads(seen.body).get("reasoning_effort") for seen in upstream.requests]
    assert sent == ["low", None, None, "low"]


async def test_a_fallback_that_is_not_translated_tells_of_nothing_dropped(
    start_gateway: StartGateway,
) -> None:
    busy = reply(b'{"error":"busy"}', status="503 Busy")
    async with (
        ScriptedUpstream(raw_reply(busy)) as one,
        ScriptedUpstream(raw_reply(reply(WHOLES["openai"]))) as two,
    ):
        options = {"retries": {"attempts": 0}}
        document = with_fallback("openai", ("ollama", one.url), ("openai", two.url), **options)
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat("openai", stream=False, metadata={"a": "b"}))
    assert response.body == WHOLES["openai"]
    assert response.value("x-translation-dropped") is None


# -- where, and by what name -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "base", "own", "path"),
    [
        ("openai", "", None, "/v1/chat/completions"),
        ("openai", "/base", None, "/base/v1/chat/completions"),
        ("openai", "/v1", None, "/v1/chat/completions"),
        ("openai", "/openai/v1", None, "/openai/v1/chat/completions"),
        ("openai", "/v1beta/openai", None, "/v1beta/openai/chat/completions"),
        ("openai", "/api/paas/v4", None, "/api/paas/v4/chat/completions"),
        ("openai", "", "", "/chat/completions"),
        ("openai", "/x", "/inference", "/x/inference/chat/completions"),
        ("openai", "/v1", "/v1", "/v1/v1/chat/completions"),
        ("anthropic", "/v1", None, "/v1/messages"),
        ("anthropic", "/gw", None, "/gw/v1/messages"),
        ("ollama", "/api", None, "/api/chat"),
        ("ollama", "/x", None, "/x/api/chat"),
        ("ollama", "/v1", "", "/v1/chat"),
    ],
)
async def test_a_backend_is_asked_below_its_own_base_path(
    start_gateway: StartGateway, backend: str, base: str, own: str | None, path: str
) -> None:
    caller = "openai" if backend != "openai" else "anthropic"
    async with ScriptedUpstream(answers(backend)) as upstream:
        translation = {} if own is None else {"translation": {"base": own}}
        document = config(caller, backend, upstream.url + base, upstream=translation)
        gateway = await start_gateway(document)
        assert (await ask(gateway.port, chat(caller))).status == 200
        (seen,) = upstream.requests
    assert seen.target == path


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_an_answer_carries_the_model_name_that_was_asked_for(
    start_gateway: StartGateway, caller: str, backend: str, stream: bool
) -> None:
    own = json.loads(WHOLES[backend])["model"]
    async with ScriptedUpstream(answers(backend)) as upstream:
        for option, name in (({}, "m"), ({"model_name": "backend"}, own)):
            document = config(caller, backend, upstream.url, upstream=option)
            gateway = await start_gateway(document)
            response = await ask(gateway.port, chat(caller, stream=stream))
            assert f'"model":"{name}"'.encode() in response.body
            names = set(re.findall(rb'"model":"([^"]+)"', response.body))
            assert names == {name.encode()}


async def test_on_a_route_without_models_it_is_the_name_in_the_body(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(answers("ollama")) as upstream:
        document = config("openai", "ollama", upstream.url, models=[])
        document["routes"][0]["upstream"] = "main"
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat("openai", model="some/name", stream=False))
    assert response.json()["model"] == "some/name"


async def test_message_start_carries_an_estimate_of_the_input(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(answers("openai")) as upstream:
        gateway = await start_gateway(config("anthropic", "openai", upstream.url))
        messages = [{"role": "user", "content": "x" * 4000}]
        response = await ask(gateway.port, chat("anthropic", messages=messages))
    start, *_, delta, _, _ = response.body.split(b"\n\n")
    assert b'"input_tokens":1000' in start
    assert b'"input_tokens":20' in delta  # 120, of which 100 came from the cache


async def test_a_caller_that_wants_no_thinking_is_shown_none(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(answers("anthropic")) as upstream:
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        for stream in (False, True):
            asked = chat("openai", stream=stream, include_reasoning=False)
            response = await ask(gateway.port, asked)
            assert b"Let me look" in response.body
            assert b"reasoning_content" not in response.body


@pytest.mark.parametrize("status", ["200 OK", "429 Slow"])
async def test_the_caller_is_told_what_is_not_carried(
    start_gateway: StartGateway, status: str
) -> None:
    answer = reply(WHOLES["anthropic"], status=status)
    async with ScriptedUpstream(raw_reply(answer)) as upstream:
        document = config("openai", "anthropic", upstream.url)
        told = {"telemetry": {"log": {"format": "json"}, "traces": {"sample": 1}}}
        gateway = await start_gateway(document, **told)
        asked = chat("openai", stream=False, metadata={"a": "b"}, verbosity="low")
        response = await ask(gateway.port, asked)
        silent = await ask(gateway.port, chat("openai", stream=False))
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        record, *_ = json.loads(gateway.server.state.records.take())["records"]
    assert response.value("x-translation-dropped") == b"metadata, verbosity"
    assert silent.value("x-translation-dropped") is None
    seen = [detail for name, _, detail in record["events"] if name == "translation_dropped"]
    assert seen == ["metadata, verbosity"]


# -- what is not understood --------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_is_left_out_of_an_answer_is_counted_and_in_the_trace(
    start_gateway: StartGateway, stream: bool
) -> None:
    parts = [{"type": "hologram"}, {"type": "text", "text": "Hi"}]
    choice = {"message": {"content": parts}, "delta": {"content": parts}, "finish_reason": "eos"}
    body = json.dumps({"model": "m", "choices": [choice]}).encode()
    events = (b"data: ping\n\n", b"data: pong\n\n", b"data: %b\n\n" % body, b"data: [DONE]\n\n")
    script = streams("openai", *events) if stream else raw_reply(reply(body))
    async with ScriptedUpstream(script) as upstream:
        document = config("anthropic", "openai", upstream.url)
        told = {"telemetry": {"log": {"format": "json"}, "traces": {"sample": 1}}}
        gateway = await start_gateway(document, **told)
        response = await ask(gateway.port, chat("anthropic", stream=stream))
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        metrics = await read_metrics(gateway)
        (record,) = json.loads(gateway.server.state.records.take())["records"]
    assert response.clean_end
    assert b'"text":"Hi"' in response.body
    counted = {"part": 1, "stop": 1, **({"event": 2} if stream else {})}
    for what, times in counted.items():
        name = "gateway_translation_skipped_total"
        assert metrics.value(name, upstream="main", what=what) == times
    seen = [detail for name, _, detail in record["events"] if name == "translation_skipped"]
    assert sorted(seen) == sorted(counted)


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b""], ids=["done", "reason"])
async def test_a_connection_that_breaks_behind_a_complete_answer_breaks_nothing(
    start_gateway: StartGateway, end: bytes
) -> None:
    stream = STREAMS["openai"].removesuffix(b"data: [DONE]\n\n") + end
    async with ScriptedUpstream(streams("openai", stream, broken=True)) as upstream:
        gateway = await start_gateway(config("anthropic", "openai", upstream.url))
        response = await ask(gateway.port, chat("anthropic"))
    assert response.clean_end
    assert ENDS["anthropic"] in response.body


# -- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("caller", "backend"), PAIRS)
async def test_limits_are_settled_with_what_was_used(
    start_gateway: StartGateway, auth: Auth, caller: str, backend: str, stream: bool
) -> None:
    async with ScriptedUpstream(answers(backend)) as upstream:
        document = config(
            caller, backend, upstream.url, auth=["corp"], limits=["tokens"], upstream={}
        )
        document["auth"] = auth
        document["limits"] = {"tokens": {"key": "subject", "tokens": "1000/day"}}
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat(caller, bearer(), stream=stream))
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (response.status, response.clean_end) == (200, True)
    assert (line["tokens_in"], line["tokens_out"]) == (120, 42)
    if caller == "openai" and stream:
        assert b'"usage"' not in response.body  # it did not ask for it


# -- other models, other dialects --------------------------------------------------------------


def with_fallback(
    caller: str, first: tuple[str, str], second: tuple[str, str], **options: Any
) -> dict[str, Any]:
    """`m` at the first dialect and URL falls back to `n` at the second."""
    document = config(caller, *first)
    document["upstreams"]["main"] |= options
    document["upstreams"]["other"] = {
        "dialect": second[0],
        "endpoints": [{"url": second[1]}],
        **options,
    }
    document["models"]["m"]["fallbacks"] = ["n"]
    document["models"]["n"] = {"upstream": "other", "model": "acme/n"}
    return document


@pytest.mark.parametrize(
    "failure",
    [
        reply(b"{}", status="503 Busy"),
        reply(
            b'{"error":{"message":"This model\'s maximum context length is 8"}}',
            status="400 Bad Request",
        ),
    ],
    ids=["busy", "too-long"],
)
@pytest.mark.parametrize("first", ["openai", "ollama"])
async def test_a_model_of_another_dialect_is_asked_instead(
    start_gateway: StartGateway, first: str, failure: bytes
) -> None:
    async with (
        ScriptedUpstream(raw_reply(failure)) as one,
        ScriptedUpstream(answers("anthropic")) as two,
    ):
        options = {"retries": {"attempts": 0}}
        document = with_fallback("openai", (first, one.url), ("anthropic", two.url), **options)
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat("openai", stream=False))
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        (seen,) = two.requests
    assert response.json()["object"] == "chat.completion"
    assert json.loads(seen.body)["model"] == "acme/n"
    assert line["served"] == "n"


async def test_another_model_is_asked_where_an_answer_cannot_be_translated(
    start_gateway: StartGateway,
) -> None:
    async with (
        ScriptedUpstream(raw_reply(reply(b"no json"))) as one,
        ScriptedUpstream(raw_reply(reply(WHOLES["openai"]))) as two,
    ):
        document = with_fallback("openai", ("ollama", one.url), ("openai", two.url))
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat("openai", stream=False))
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert response.body == WHOLES["openai"]  # not a byte is touched
    assert line["fallbacks"] == ["m: upstream_invalid_response"]


async def test_a_model_that_cannot_be_asked_this_is_passed_over(
    start_gateway: StartGateway,
) -> None:
    busy = reply(b'{"error":{"message":"busy"}}', status="503 Busy")
    async with ScriptedUpstream(raw_reply(busy)) as one, ScriptedUpstream(hang) as two:
        document = with_fallback("openai", ("openai", one.url), ("anthropic", two.url))
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat("openai", stream=False, n=2))
        assert two.requests == []
    assert (response.status, response.json()) == (503, {"error": {"message": "busy"}})


def delta(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: %b\n\n" % json.dumps({"id": "c", "model": "v", "choices": [choice]}).encode()


def openai_stream(*texts: str, ended: bool) -> list[bytes]:
    events = [delta(text) for text in texts]
    if ended:
        choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
        last = json.dumps({"id": "c", "model": "v", "choices": [choice]}).encode()
        events += [b"data: %b\n\n" % last, b"data: [DONE]\n\n"]
    return events


def anthropic_stream(*texts: str, ended: bool) -> list[bytes]:
    block = {"type": "text", "text": ""}
    documents: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "a", "model": "claude", "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
    ]
    for text in texts:
        said = {"type": "text_delta", "text": text}
        documents.append({"type": "content_block_delta", "index": 0, "delta": said})
    if ended:
        documents += [
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": 5},
            },
            {"type": "message_stop"},
        ]
    return [b"data: %b\n\n" % json.dumps(one).encode() for one in documents]


def ollama_stream(*texts: str, ended: bool) -> list[bytes]:
    lines = [{"model": "q", "message": {"content": text}, "done": False} for text in texts]
    if ended:
        lines.append({"model": "q", "message": {"content": ""}, "done": True})
    return [json.dumps(line).encode() + b"\n" for line in lines]


SAY: dict[str, Callable[..., list[bytes]]] = {
    "openai": openai_stream,
    "anthropic": anthropic_stream,
    "ollama": ollama_stream,
}


def text_of(caller: str, body: bytes) -> str:
    said = ""
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            document = json.loads(line[6:])
            if caller == "openai":
                for choice in document.get("choices", ()):
                    said += choice["delta"].get("content") or ""
            else:
                said += document.get("delta", {}).get("text", "")
        elif caller == "ollama":
            said += json.loads(line)["message"]["content"]
    return said


@pytest.mark.parametrize("caller", DIALECTS)
@pytest.mark.parametrize(("first", "second"), [*PAIRS, ("ollama", "ollama")])
async def test_a_model_of_another_dialect_goes_on_in_the_same_stream(
    start_gateway: StartGateway, caller: str, first: str, second: str
) -> None:
    begun = streams(first, *SAY[first]("Once ", "upon ", ended=False), broken=True)
    # Anthropic is shown no white space at the end, and begins with what belongs there.
    rest = [" a ", "time."] if second == "anthropic" else ["a ", "time."]
    if caller == "anthropic" and second == "anthropic":
        rest = ["a ", "time."]
    goes_on = streams(second, *SAY[second](*rest, ended=True))
    async with ScriptedUpstream(begun) as one, ScriptedUpstream(goes_on) as two:
        document = with_fallback(caller, (first, one.url), (second, two.url))
        document["upstreams"]["other"]["continues"] = (
            "continue_final_message" if second == "openai" else "prefill"
        )
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat(caller))
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        asked = json.loads(two.requests[0].body)
    assert response.clean_end, response.body
    assert text_of(caller, response.body) == "Once upon a time."
    assert ENDS[caller] in response.body
    assert asked["messages"][-1]["role"] == "assistant"
    assert asked["messages"][-1]["content"].rstrip() == "Once upon"
    assert asked.get("continue_final_message", False) is (second == "openai")
    if caller == "ollama":
        models = {json.loads(line)["model"] for line in response.body.splitlines()}
        assert len(models) == 1
    assert (line["served"], line["continued"], line["end"]) == ("n", 1, "complete")


async def test_an_error_told_in_the_middle_is_gone_on_from_as_well(
    start_gateway: StartGateway,
) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = [*SAY["anthropic"]("Once ", ended=False), b"data: %b\n\n" % json.dumps(error).encode()]
    goes_on = streams("ollama", *SAY["ollama"]("upon", ended=True))
    async with (
        ScriptedUpstream(streams("anthropic", *events)) as one,
        ScriptedUpstream(goes_on) as two,
    ):
        document = with_fallback("openai", ("anthropic", one.url), ("ollama", two.url))
        document["upstreams"]["other"]["continues"] = "prefill"
        gateway = await start_gateway(document)
        response = await ask(gateway.port, chat("openai"))
    assert response.clean_end
    assert text_of("openai", response.body) == "Once upon"
