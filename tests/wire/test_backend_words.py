"""What a backend says of an error reaches the caller, the log and the request's page."""

from __future__ import annotations

import json

import pytest

from gateway.telemetry.semconv import NAMES
from gateway.telemetry.traces.spans import build
from tests.support.client import RawClient, ask, request
from tests.support.exchange import read_stream
from tests.support.gateway import LogLine, StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply, raw_reply, reply, sse_reply
from tests.wire.test_traces import records, traced
from tests.wire.test_translation import chat, config, message_of

FASTAPI = b'{"detail":[{"loc":["body","n"],"msg":"Field required"}]}'
PAGE = b"<html><head><title>504 Gateway Time-out</title></head></html>"
BODIES = {
    "detail": (FASTAPI, "body.n: Field required"),
    "page": (PAGE, "504 Gateway Time-out"),
    "text": (b"CUDA out of memory\n", "CUDA out of memory"),
}


def is_access(line: LogLine) -> bool:
    return bool(line["event"] == "request")


@pytest.mark.parametrize("backend", ["openai", "anthropic"], ids=["passed", "translated"])
@pytest.mark.parametrize("shape", BODIES)
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_an_error_response_is_told_to_the_caller_the_log_and_the_page(
    start_gateway: StartGateway, backend: str, shape: str, framing: str
) -> None:
    body, words = BODIES[shape]
    whole = reply(body, status="500 Oops")
    if framing == "chunks":
        head = b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n"
        whole = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with ScriptedUpstream(raw_reply(whole)) as upstream:
        gateway = await start_gateway(
            config("openai", backend, upstream.url, upstream={"retries": {"attempts": 0}}),
            **traced(sample=0),
        )
        response = await ask(gateway.port, chat("openai"))
        line = await gateway.wait_for_log(is_access)
        (record,) = await records(gateway)
    assert response.status == 500
    if backend == "openai":
        assert response.body == body
    else:
        assert message_of("openai", response) == words
    assert line["reason"] == record["reason"] == words
    server = build(record, NAMES["1.44"])[0]
    assert server.attributes["gateway.reason"] == words


@pytest.mark.parametrize("caller", ["openai", "anthropic"])
async def test_an_error_that_ends_a_stream_is_told_to_the_log(
    start_gateway: StartGateway, caller: str
) -> None:
    word = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
    told = b'data: {"type":"error","error":{"type":"api_error","message":"GPU fell off"}}\n\n'
    events = [word, told, b"data: [DONE]\n\n"]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(caller, caller, upstream.url))
        response = await ask(gateway.port, chat(caller))
        line = await gateway.wait_for_log(is_access)
    assert response.body == b"".join(events)
    assert (line["status"], line["error"]) == (200, "backend_error")
    assert line["reason"] == "GPU fell off"


@pytest.mark.parametrize("first", ["openai", "anthropic"], ids=["passed", "translated"])
async def test_an_error_document_after_an_early_head_is_told_in_the_stream(
    start_gateway: StartGateway, first: str
) -> None:
    async with ScriptedUpstream() as upstream:
        document = config("openai", first, upstream.url, heartbeat="40ms")
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(chat("openai"))
            connection = await upstream.accept()
            await connection.read_request()
            head = await client.read_head()
            await connection.send(reply(FASTAPI, status="422 No"))
            body, _ = await read_stream(client)
        line = await gateway.wait_for_log(is_access)
    assert head.status == 200
    assert b"body.n: Field required" in body
    assert "body.n: Field required" in line["reason"]


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request"])
async def test_an_error_document_in_place_of_a_translated_stream_is_told(
    start_gateway: StartGateway, status: str
) -> None:
    script = json_reply({"type": "error", "error": {"message": "No such tool"}}, status=status)
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        response = await ask(gateway.port, chat("openai"))
        line = await gateway.wait_for_log(is_access)
    assert message_of("openai", response) == "No such tool"
    assert "No such tool" in line["reason"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_translated_error_shows_no_address_and_no_secret(
    start_gateway: StartGateway, stream: bool
) -> None:
    async with ScriptedUpstream() as upstream:
        said = f"cannot reach {upstream.url}/v1 with Bearer abc123def456"
        document = {"type": "error", "error": {"type": "api_error", "message": said}}
        event = b"event: error\ndata: %b\n\n" % json.dumps(document).encode()
        upstream.script = sse_reply([event]) if stream else json_reply(document)
        gateway = await start_gateway(config("openai", "anthropic", upstream.url))
        response = await ask(gateway.port, chat("openai", stream=stream))
    assert b"cannot reach (address) with Bearer ***" in response.body
    assert b"127.0.0.1" not in response.body


async def test_words_of_attempts_that_were_not_taken_are_kept(start_gateway: StartGateway) -> None:
    """Of a retry in its span, of a model that a fallback replaced in the list of fallbacks."""
    bad = json_reply({"detail": "warming up"}, status="503 Busy")
    answer = json_reply({"choices": [{"message": {"content": "a"}}]})
    async with ScriptedUpstream(bad) as one, ScriptedUpstream(answer) as two:
        document = config("openai", "openai", one.url)
        document["upstreams"]["main"]["retries"] = {"attempts": 1, "post": True, "statuses": [503]}
        document["upstreams"]["other"] = {"endpoints": [{"url": two.url}]}
        document["models"]["m"]["fallbacks"] = ["n"]
        document["models"]["n"] = {"upstream": "other"}
        document["routes"][0]["models"] = ["m", "n"]
        gateway = await start_gateway(document, **traced())
        assert (await ask(gateway.port, chat("openai", stream=False))).status == 200
        line = await gateway.wait_for_log(is_access)
        (record,) = await records(gateway)
    assert line["fallbacks"] == ["m: status 503: warming up"]
    calls = [span for span in build(record, NAMES["1.44"]) if span.kind == "client"]
    assert calls[0].attributes["gateway.reason"] == "warming up"


async def test_a_refused_get_is_told_to_the_log(start_gateway: StartGateway) -> None:
    script = json_reply({"detail": "Not Found"}, status="404 Not Found")
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        await ask(gateway.port, request("GET", "/v1/nothing"))
        line = await gateway.wait_for_log(is_access)
    assert (line["status"], line["reason"]) == (404, "Not Found")
