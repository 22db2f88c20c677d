"""Answers that end too early although the transfer is complete: nothing but the answer shows it."""

from __future__ import annotations

import json
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.support.client import Response
from tests.support.exchange import POST, ask
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.nginx import StartNginx
from tests.support.upstream import (
    LAST_CHUNK,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
)
from tests.wire import test_failover as failover

_HEAD = b"HTTP/1.%d 200 OK\r\nContent-Type: %b\r\n%b\r\n"
EVENTS = {
    "openai": [
        b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
        b"data: [DONE]\n\n",
    ],
    "anthropic": [
        b'event: message_start\ndata: {"type":"message_start","message":{}}\n\n',
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hi"}}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}'
        b"\n\n",
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
    ],
    "responses": [
        b'event: response.created\ndata: {"type":"response.created","response":{}}\n\n',
        b"event: response.output_text.delta\n"
        b'data: {"type":"response.output_text.delta","item_id":"a","delta":"Hi"}\n\n',
        b'event: response.completed\ndata: {"type":"response.completed","response":{}}\n\n',
    ],
    "ollama": [
        b'{"message":{"content":"Hi"},"done":false}\n',
        b'{"message":{"content":""},"done":true}\n',
    ],
}
UNFINISHED = {"openai": 1, "anthropic": 2, "responses": 2, "ollama": 1}
"""Number of events after which more has to follow."""
FRAMINGS = ["connection", "http/1.0", "chunks"]


def answering(dialect: str, framing: str, *events: bytes) -> Script:
    """Send these events, each in a write of its own, and a clean end of the transfer."""
    kind = b"application/x-ndjson" if dialect == "ollama" else b"text/event-stream"
    chunked = framing == "chunks"
    fields = b"Transfer-Encoding: chunked\r\n" if chunked else b""

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(_HEAD % (0 if framing == "http/1.0" else 1, kind, fields))
        for event in events:
            await connection.send(chunk(event) if chunked else event)
            await connection.delivered()
        if chunked:
            await connection.send(LAST_CHUNK)

    return script


async def asked(
    start_gateway: StartGateway, upstream: ScriptedUpstream, dialect: str, **options: Any
) -> tuple[Response, dict[str, Any], RunningGateway]:
    """Return the response to a chat, the line of the access log, and the gateway."""
    name = "openai" if dialect == "responses" else dialect
    gateway = await start_gateway(
        simple_config(upstream.url, upstream={"dialect": name, **options})
    )
    response = await ask(gateway.port)
    return response, await gateway.wait_for_log(lambda line: line["event"] == "request"), gateway


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("dialect", EVENTS)
async def test_a_stream_without_its_end_mark_ends_with_an_error_event(
    start_gateway: StartGateway, dialect: str, framing: str
) -> None:
    events = EVENTS[dialect][: UNFINISHED[dialect]]
    async with ScriptedUpstream(answering(dialect, framing, *events)) as upstream:
        response, line, _ = await asked(start_gateway, upstream, dialect)
    assert response.body.startswith(b"".join(events))
    assert not response.clean_end
    error = json.loads(response.body.removeprefix(b"".join(events)).strip().split(b"data: ")[-1])
    assert "before it was complete" in json.dumps(error)
    assert (line["error"], line["end"], line["status"]) == (
        "upstream_truncated",
        "upstream_reset",
        200,
    )


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize(
    ("dialect", "count"),
    [
        (dialect, count)
        for dialect, events in EVENTS.items()
        for count in range(UNFINISHED[dialect] + 1, len(events) + 1)
    ],
)
async def test_a_stream_with_a_finish_reason_or_an_end_mark_is_complete(
    start_gateway: StartGateway, dialect: str, count: int, framing: str
) -> None:
    # Perplexity and older versions of TGI send no [DONE].
    events = EVENTS[dialect][:count]
    async with ScriptedUpstream(answering(dialect, framing, *events)) as upstream:
        response, line, _ = await asked(start_gateway, upstream, dialect)
    assert (response.body, response.clean_end) == (b"".join(events), True)
    assert line["end"] == "complete"


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_stream_of_no_known_form_passes_as_it_is(
    start_gateway: StartGateway, framing: str
) -> None:
    event = b'data: {"temperature":21}\n\n'
    async with ScriptedUpstream(answering("openai", framing, event)) as upstream:
        response, _, _ = await asked(start_gateway, upstream, "openai")
    assert (response.body, response.clean_end) == (event, True)


async def test_an_upstream_without_end_marks_may_end_its_streams_anywhere(
    start_gateway: StartGateway,
) -> None:
    event = EVENTS["openai"][0]
    async with ScriptedUpstream(answering("openai", "connection", event)) as upstream:
        response, _, _ = await asked(start_gateway, upstream, "openai", end_mark=False)
    assert (response.body, response.clean_end) == (event, True)


async def test_an_event_that_is_written_in_parts_is_seen_whole(
    start_gateway: StartGateway,
) -> None:
    parts = [b"data: ", EVENTS["openai"][0][6:-2], b"\n\n"]
    async with ScriptedUpstream(answering("openai", "connection", *parts)) as upstream:
        response, line, _ = await asked(start_gateway, upstream, "openai")
    assert not response.clean_end
    assert line["error"] == "upstream_truncated"


async def test_a_json_document_that_is_cut_off_is_not_complete(
    start_gateway: StartGateway,
) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(_HEAD % (1, b"application/json", b"") + b'{"choices":[{"mess')

    async with ScriptedUpstream(script) as upstream:
        response, line, _ = await asked(start_gateway, upstream, "openai")
    assert not response.clean_end
    assert line["error"] == "upstream_truncated"


async def test_another_backend_continues_a_stream_without_its_end_mark(
    start_gateway: StartGateway,
) -> None:
    first = answering("openai", "chunks", failover.delta("one", role="assistant", content="Once "))
    async with ScriptedUpstream(first) as one, ScriptedUpstream(failover.SECOND) as two:
        gateway = await start_gateway(failover.config(one, two))
        body, clean = await failover.ask(gateway)
    assert clean
    assert failover.text_of(body) == "Once a time."


@pytest.mark.parametrize("marked", [False, True], ids=["cut", "marked"])
@pytest.mark.parametrize("told", [False, True], ids=["no close_notify", "close_notify"])
async def test_tls_that_ends_without_close_notify_is_no_end(
    start_gateway: StartGateway, tmp_path: Path, told: bool, marked: bool
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    # Without a known form, only the transport shows that the stream is not complete.
    event = EVENTS["openai"][-1] if marked else b"data: 21\n\n"

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(_HEAD % (1, b"text/event-stream", b"") + event)
        await connection.delivered()
        if not told:
            with socket.socket(fileno=os.dup(connection.raw_socket().fileno())) as below_tls:
                below_tls.shutdown(socket.SHUT_WR)
            await connection.wait_client_gone()

    async with ScriptedUpstream(script, tls=context) as upstream:
        options = {"tls": {"ca": str(tmp_path / "ca.pem")}}
        response, line, _ = await asked(start_gateway, upstream, "openai", **options)
    complete = told or marked
    assert response.clean_end == complete
    assert line.get("error") == (None if complete else "upstream_truncated")


async def test_nginx_in_front_of_a_backend_does_not_hide_that_it_died(
    start_gateway: StartGateway, start_nginx: StartNginx
) -> None:
    # nginx speaks HTTP/1.0 to it unless told otherwise, and makes chunks of what it gets.
    events = EVENTS["openai"][:1]
    async with ScriptedUpstream(answering("openai", "http/1.0", *events)) as upstream:
        location = f"location / {{ proxy_pass {upstream.url}; proxy_http_version 1.0; }}"
        server = f"include site/listen.conf; include site/certificates.conf; {location}"
        main = f"events {{}} http {{ include site/paths.conf; server {{ {server} }} }}"
        nginx = await start_nginx(1, main=main)
        options = {"tls": {"ca": str(nginx.ca_file)}}
        gateway = await start_gateway(simple_config(nginx.url, upstream=options))
        response = await ask(gateway.port, POST)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert response.body.startswith(events[0])
    assert not response.clean_end
    assert line["error"] == "upstream_truncated"


async def test_the_endpoint_of_a_truncated_stream_is_counted_as_failed(
    start_gateway: StartGateway,
) -> None:
    script = answering("openai", "chunks", EVENTS["openai"][0])
    async with ScriptedUpstream(script) as upstream:
        _, _, gateway = await asked(
            start_gateway, upstream, "openai", outliers={"failures": 1, "max_ejected": "100%"}
        )
        line = await gateway.wait_for_log(lambda line: line["event"] == "endpoint")
    assert "upstream_truncated" in json.dumps(line)
