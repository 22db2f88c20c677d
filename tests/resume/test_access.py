"""Kept streams of an owner who has several credentials, some of them for certain models only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.auth import api_key
from gateway.auth.principal import Principal
from gateway.resume.access import StreamAccess
from tests.resume.streams import ask, post, stream_id
from tests.support.client import RawClient, request
from tests.support.gateway import StartGateway, StartGatewayProcess, simple_config
from tests.support.redis import StartRedis
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, sse_reply, stepped_stream

BIG = json.dumps({"model": "big", "stream": True}).encode()
EVENTS = [b"data: 1\n\n", b"data: 2\n\n"]


def keys(folder: Path, *of_models: list[str] | None) -> tuple[dict[str, Any], list[str]]:
    """A provider's options, and header lines with keys of one owner, each for these models."""
    records, lines = [], []
    for models in of_models:
        key, key_id, salt, digest = api_key.generate()
        record: dict[str, Any] = {
            "id": key_id,
            "hash": f"sha256:{salt.hex()}:{digest.hex()}",
            "owner": "ann",
            "created": "2026-01-01T00:00:00Z",
        }
        records.append(record if models is None else {**record, "models": models})
        lines.append(f"Authorization: Bearer {key}")
    (folder / "keys.yaml").write_text(yaml.dump({"keys": records}))
    return {"keys": {"type": "api_key", "file": str(folder / "keys.yaml")}}, lines


def config(backend: ScriptedUpstream, auth: dict[str, Any], **route: Any) -> dict[str, Any]:
    document = simple_config(backend.url, auth=list(auth), resume={"ttl": "60s"}, **route)
    named = {"big": {"upstream": "main"}, "small": {"upstream": "main"}}
    return {**document, "auth": auth, "models": named}


def read(stream: str, line: str, method: str = "GET") -> bytes:
    return request(method, f"/v1/streams/{stream}", headers=[line])


async def test_a_key_for_one_model_reads_no_stream_of_another(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (every, small, big) = keys(tmp_path, None, ["small"], ["big"])
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, auth, models=["big", "small"]))
        first = await ask(gateway, post(every, "Idempotency-Key: k", body=BIG), "POST")
        stream = stream_id(first)
        assert (await ask(gateway, read(stream, big))).status == 200
        refused = await ask(gateway, read(stream, small))
        ended = await ask(gateway, read(stream, small, "DELETE"), "DELETE")
        resumed = await ask(
            gateway,
            request("GET", "/v1/chat/completions", headers=[small, f"Last-Event-ID: {stream}.1"]),
        )
        unknown = await ask(gateway, read("00" + "f" * 32, small))
        again = await ask(gateway, post(small, "Idempotency-Key: k", body=BIG), "POST")
        same = await ask(gateway, post(big, "Idempotency-Key: k", body=BIG), "POST")
    # As if it were not there.
    assert (refused.status, ended.status, resumed.status) == (404, 404, 404)
    assert refused.json()["error"]["code"] == unknown.json()["error"]["code"]
    assert (again.status, again.json()["error"]["code"]) == (404, "model_not_found")
    assert same.body == first.body  # the one flight of both keys
    assert len(upstream.requests) == 1


async def test_a_response_is_read_and_cancelled_with_a_key_for_its_model_only(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (every, small) = keys(tmp_path, None, ["small"])
    events = [b'data: {"type":"response.created","response":{"id":"resp_1"}}\n\n', *EVENTS]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream, auth, models=["big", "small"]))
        lines = ["Content-Type: application/json", every]
        first = await ask(
            gateway, request("POST", "/v1/responses", headers=lines, body=BIG), "POST"
        )
        assert first.status == 200
        path = "/v1/responses/resp_1?stream=true&starting_after=0"
        good = await ask(gateway, request("GET", path, headers=[every]))
        refused = await ask(gateway, request("GET", path, headers=[small]))
    assert good.status == 200
    assert refused.status == 404
    assert len(upstream.requests) == 1


async def test_scopes_of_a_model_hold_for_its_streams(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream, auth, models=["big", "small"])
        document["models"]["big"]["scopes"] = ["vip"]
        gateway = await start_gateway(document)
        vip, plain = bearer(scope="vip x"), bearer(scope="x")
        stream = stream_id(await ask(gateway, post(vip, body=BIG), "POST"))
        assert (await ask(gateway, read(stream, bearer(scope="y vip")))).status == 200
        assert (await ask(gateway, read(stream, plain))).status == 404


@pytest.mark.parametrize("store", ["workers", "redis"])
async def test_it_holds_where_another_process_keeps_the_stream(
    start_gateway_process: StartGatewayProcess,
    start_redis: StartRedis,
    tmp_path: Path,
    store: str,
) -> None:
    auth, (every, small) = keys(tmp_path, None, ["small"])
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream, auth, models=["big", "small"])
        if store == "redis":
            document["store"] = {"url": (await start_redis()).url}
        document["server"] = {"workers": 2}
        gateway = await start_gateway_process(document)
        lines = (every, "Idempotency-Key: k")
        stream = stream_id(await ask(gateway, post(*lines, body=BIG), "POST"))
        # Each connection is some worker's.
        asked = [
            asyncio.create_task(ask(gateway, read(stream, line)))
            for line in (every, small)
            for _ in range(12)
        ]
        said = [(await one).status for one in asked]
        again = await ask(gateway, post(small, "Idempotency-Key: k", body=BIG), "POST")
    assert said == [200] * 12 + [404] * 12
    assert (again.status, again.json()["error"]["code"]) == (404, "model_not_found")


async def test_reads_have_a_limit_of_their_own(start_gateway: StartGateway, auth: Auth) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = config(upstream, auth)
        document["routes"][0]["resume"] = {"reads": "3/minute"}
        document["limits"] = {"one": {"key": "subject", "requests": "1/day"}}
        document["routes"][0]["limits"] = ["one"]
        gateway = await start_gateway(document)
        ann, bob = bearer(sub="ann"), bearer(sub="bob")
        stream = stream_id(await ask(gateway, post(ann), "POST"))
        said = [await ask(gateway, read(stream, ann)) for _ in range(4)]
        others = await ask(gateway, read(stream, bob))
        elsewhere = await ask(
            gateway,
            request("GET", "/v1/chat/completions", headers=[ann, f"Last-Event-ID: {stream}.0"]),
        )
    assert [one.status for one in said] == [200, 200, 200, 429]
    assert said[-1].value("retry-after") == b"20"
    assert said[-1].json()["error"]["code"] == "rate_limit_exceeded"
    assert others.status == 404
    assert elsewhere.status == 429


async def test_streams_without_a_model_are_read_with_the_same_restrictions(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (every, small) = keys(tmp_path, None, ["small"])
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream, auth))
        async with RawClient(gateway.port) as client:
            await client.send(post(every, body=BIG))
            await upstream.release(EVENTS[0])
            stream = ((await client.read_head()).value("x-stream-id") or b"").decode()
            refused = await ask(gateway, read(stream, small))
            await upstream.finish()
            assert await client.read_chunk()
            assert await client.read_chunk() is None
        assert (await ask(gateway, read(stream, every))).status == 200
    assert refused.status == 404


def test_who_may_read_what() -> None:
    access = StreamAccess("r", {"open": (), "vip": ("vip",)}, ("vip", "elsewhere"))
    plain = Principal("ann", "corp", scopes=frozenset(("x",)))
    vip = Principal("ann", "corp", scopes=frozenset(("vip",)))
    key = Principal("ann", "corp", models=frozenset(("open",)))
    other = Principal("bob", "corp", scopes=frozenset(("vip",)))
    may_read = {plain: {"open"}, vip: {"open", "vip"}, key: {"open"}, other: set[str]()}
    for reader, models in may_read.items():
        found = access.readable(reader)
        assert {one for one in ("open", "vip") if access.stream(vip, one) in found} == models
    unnamed = [access.stream(one, None) for one in (plain, vip, key, other, None)]
    assert len(set(unnamed)) == 5
    same = Principal("ann", "corp", scopes=frozenset(("y",)))
    assert access.stream(same, None) == access.stream(plain, None)  # of no model's concern
    assert access.stream(None, "vip") not in access.readable(None)
