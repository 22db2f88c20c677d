"""Streams whose caller's credential expires while they go on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.auth import api_key
from tests.support.client import ConnectionEnded, RawClient, request
from tests.support.gateway import StartGateway, simple_config
from tests.support.upstream import (
    STREAM_HEAD,
    ScriptedUpstream,
    hang,
    stepped_stream,
)

LIFE_S = 1.0
NDJSON_HEAD = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")
CHAT = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def keys(folder: Path, *lives_s: float) -> tuple[dict[str, Any], list[str]]:
    """A provider's options, and header lines with keys of one owner that live for so long."""
    records, lines = [], []
    for life_s in lives_s:
        key, key_id, salt, digest = api_key.generate()
        now = datetime.now(UTC)
        records.append(
            {
                "id": key_id,
                "hash": f"sha256:{salt.hex()}:{digest.hex()}",
                "owner": "ann",
                "created": now.isoformat(),
                "expires": (now + timedelta(seconds=life_s)).isoformat(),
            }
        )
        lines.append(f"Authorization: Bearer {key}")
    (folder / "keys.yaml").write_text(yaml.dump({"keys": records}))
    return {"keys": {"type": "api_key", "file": str(folder / "keys.yaml")}}, lines


def config(backend: str, auth: dict[str, Any], **route: Any) -> dict[str, Any]:
    upstream = route.pop("upstream_options", {})
    document = simple_config(backend, auth=["keys"], upstream=upstream, **route)
    return {**document, "auth": auth, "models": {"m": {"upstream": "main"}}}


def post(line: str, path: str = "/v1/chat/completions", document: object = CHAT) -> bytes:
    lines = ["Content-Type: application/json", line]
    return request("POST", path, headers=lines, body=json.dumps(document).encode())


async def to_the_end(client: RawClient) -> bytes:
    """What comes until the stream breaks off, which it has to."""
    data = b""
    try:
        while (piece := await client.read_chunk()) is not None:
            data += piece
    except ConnectionEnded:
        return data
    raise AssertionError("the stream ended as if it were complete")


@pytest.mark.parametrize(
    ("dialect", "head", "event"),
    [
        ("openai", STREAM_HEAD, b'data: {"n": 1}\n\n'),
        ("anthropic", STREAM_HEAD, b'event: ping\ndata: {"type": "ping"}\n\n'),
        ("ollama", NDJSON_HEAD, b'{"done": false}\n'),
    ],
    ids=["openai", "anthropic", "ollama"],
)
async def test_a_stream_ends_with_its_callers_credential_in_the_dialect_of_the_route(
    start_gateway: StartGateway, tmp_path: Path, dialect: str, head: bytes, event: bytes
) -> None:
    auth, (line,) = keys(tmp_path, LIFE_S)
    async with ScriptedUpstream(stepped_stream(head)) as upstream:
        options = {"dialect": dialect}
        gateway = await start_gateway(config(upstream.url, auth, upstream_options=options))
        async with RawClient(gateway.port) as client:
            await client.send(post(line))
            await upstream.release(event)
            await client.read_head()
            assert await client.read_chunk() == event
            last = await to_the_end(client)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert b"credential_expired" in last or b"not valid any more" in last
    if dialect == "openai":
        assert json.loads(last.split(b"data: ")[1])["error"]["code"] == "credential_expired"
    assert (logged["status"], logged["end"]) == (200, "refused")
    assert logged["error"] == "credential_expired"


async def test_a_translated_stream_ends_with_its_callers_credential(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (line,) = keys(tmp_path, LIFE_S)
    events: list[dict[str, Any]] = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    ]
    async with ScriptedUpstream(stepped_stream()) as upstream:
        options = {"dialect": "anthropic"}
        document = config(
            upstream.url, auth, dialect="openai", models=["m"], upstream_options=options
        )
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(post(line))
            for event in events:
                await upstream.release(
                    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
                )
            await client.read_head()
            last = await to_the_end(client)
    assert b'"content":"a"' in last
    assert last.endswith(b"\n\n")
    assert b'"code":"credential_expired"' in last.rpartition(b"data: ")[2]


async def test_a_stream_that_was_opened_early_ends_with_its_callers_credential(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (line,) = keys(tmp_path, LIFE_S)
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(config(upstream.url, auth, heartbeat="50ms"))
        async with RawClient(gateway.port) as client:
            await client.send(post(line))
            await client.read_head()
            last = await to_the_end(client)
        await upstream.wait_closed()
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert b'"code":"credential_expired"' in last
    assert (logged["end"], logged["error"]) == ("refused", "credential_expired")


async def test_a_kept_stream_goes_on_without_its_reader_who_comes_back_with_another_key(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (line, fresh) = keys(tmp_path, LIFE_S, 60.0)
    async with ScriptedUpstream(stepped_stream()) as upstream:
        document = config(upstream.url, auth, resume={"on_disconnect": "grace"})
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(post(line))
            await upstream.release(b"data: 1\n\n")
            stream = ((await client.read_head()).value("x-stream-id") or b"").decode()
            last = await to_the_end(client)
        assert b"id: %b.1\n" % stream.encode() in last
        told = last.rpartition(b"\n\n")[0].rpartition(b"\n\n")[2]
        assert b'"code":"credential_expired"' in told
        assert b"id: " not in told  # it is about this reader, and no part of the stream
        async with RawClient(gateway.port) as client:
            head = [fresh, f"Last-Event-ID: {stream}.1"]
            await client.send(request("GET", "/v1/chat/completions", headers=head))
            await client.read_head()
            await upstream.release(b"data: 2\n\n")
            assert b"data: 2" in (await client.read_chunk() or b"")
            await upstream.finish()
            assert await client.read_chunk() is None
        # A reader's own credential counts, not that of whoever began it.
        async with RawClient(gateway.port) as client:
            await client.send(request("GET", f"/v1/streams/{stream}", headers=[fresh]))
            assert (await client.read_response()).status == 200


async def test_a_kept_stream_that_is_cancelled_without_readers_ends_with_the_credential(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (line,) = keys(tmp_path, LIFE_S)
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream.url, auth, resume={}))
        async with RawClient(gateway.port) as client:
            await client.send(post(line))
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            last = await to_the_end(client)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert b'"code":"credential_expired"' in last
    assert logged["error"] == "credential_expired"


async def test_a_route_may_let_streams_go_on(start_gateway: StartGateway, tmp_path: Path) -> None:
    auth, (line, other) = keys(tmp_path, LIFE_S / 2, LIFE_S)
    async with (
        ScriptedUpstream(stepped_stream()) as upstream,
        ScriptedUpstream(stepped_stream()) as ended,
    ):
        document = config(upstream.url, auth, end_on_expiry=False)
        document["upstreams"]["ended"] = {"endpoints": [{"url": ended.url}]}
        document["routes"] += [
            {"name": "ended", "path": "/v2/", "auth": ["keys"], "upstream": "ended"}
        ]
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client, RawClient(gateway.port) as clock:
            await client.send(post(line))
            await clock.send(post(other, "/v2/x"))
            await upstream.release(b"data: 1\n\n")
            await ended.release(b"data: 1\n\n")
            await client.read_head()
            await clock.read_head()
            await to_the_end(clock)  # later than the other's key has expired
            await upstream.release(b"data: 2\n\n")
            await upstream.finish()
            assert await client.read_chunk() == b"data: 1\n\n"
            assert await client.read_chunk() == b"data: 2\n\n"
            assert await client.read_chunk() is None


async def test_an_answer_that_is_no_stream_is_sent_in_full(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (line, other) = keys(tmp_path, LIFE_S / 2, LIFE_S)
    whole = STREAM_HEAD.replace(b"text/event-stream", b"audio/mpeg")
    async with (
        ScriptedUpstream(stepped_stream(whole)) as upstream,
        ScriptedUpstream(stepped_stream()) as ended,
    ):
        document = config(upstream.url, auth)
        document["upstreams"]["ended"] = {"endpoints": [{"url": ended.url}]}
        document["routes"] += [
            {"name": "ended", "path": "/v2/", "auth": ["keys"], "upstream": "ended"}
        ]
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client, RawClient(gateway.port) as clock:
            await client.send(post(line, document={"model": "m"}))
            await clock.send(post(other, "/v2/x"))
            await upstream.release(b"one")
            await ended.release(b"data: 1\n\n")
            await client.read_head()
            await clock.read_head()
            await to_the_end(clock)
            await upstream.release(b"two")
            await upstream.finish()
            assert await client.read_chunk() == b"one"
            assert await client.read_chunk() == b"two"
            assert await client.read_chunk() is None
