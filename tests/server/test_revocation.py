"""Streams of a caller whose credential is revoked while they go on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.client import RawClient
from tests.support.gateway import StartGateway
from tests.support.upstream import STREAM_HEAD, ScriptedUpstream, UpstreamConnection, chunk
from tests.wire.test_expiry import config, keys, post, to_the_end

EVENT = b'data: {"n": 1}\n\n'
PATH = "/v1/chat/completions"
LONG_S = 3600.0
PATIENCE_S = 30.0
PAST = "2026-01-01T00:00:00+00:00"


def edit(folder: Path, **fields: Any) -> None:
    """Change the first key of the file, which is renamed into place."""
    file = folder / "keys.yaml"
    document = yaml.safe_load(file.read_text())
    document["keys"][0] |= fields
    fresh = folder / "keys.new"
    fresh.write_text(yaml.safe_dump(document))
    fresh.replace(file)


async def flowing(connection: UpstreamConnection) -> None:
    """Send events until the gateway leaves."""
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    while connection.is_open:
        await connection.send(chunk(EVENT))
        await asyncio.sleep(0.1)


async def begun(client: RawClient, line: str, path: str = PATH) -> None:
    """Begin a stream, and read its first event."""
    await client.send(post(line, path))
    await client.read_head()
    assert await client.read_chunk() == EVENT


@pytest.mark.parametrize("field", ["revoked", "suspended", "expires"])
async def test_a_stream_ends_when_its_key_is_refused(
    start_gateway: StartGateway, tmp_path: Path, field: str
) -> None:
    auth, (line,) = keys(tmp_path, LONG_S)
    async with ScriptedUpstream(flowing) as upstream:
        gateway = await start_gateway(config(upstream.url, auth))
        async with RawClient(gateway.port) as client:
            await begun(client, line)
            edit(tmp_path, **{field: PAST})
            async with asyncio.timeout(PATIENCE_S):
                rest = await to_the_end(client)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    event = rest.rpartition(b"data: ")[2]
    assert json.loads(event)["error"]["code"] == "credential_expired"
    assert (logged["error"], logged["end"]) == ("credential_expired", "refused")


async def test_other_streams_go_on_when_a_key_is_refused(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    auth, (refused, valid) = keys(tmp_path, LONG_S, LONG_S)
    async with ScriptedUpstream(flowing) as upstream:
        document = config(upstream.url, auth)
        lasting = {**document["routes"][0], "name": "lasting", "path": "/lasting/v1/"}
        document["routes"].append({**lasting, "end_on_expiry": False})
        gateway = await start_gateway(document)
        async with (
            RawClient(gateway.port) as ended,
            RawClient(gateway.port) as of_valid,
            RawClient(gateway.port) as of_lasting,
        ):
            await begun(ended, refused)
            await begun(of_valid, valid)
            await begun(of_lasting, refused, "/lasting/v1/chat/completions")
            edit(tmp_path, revoked=PAST)
            async with asyncio.timeout(PATIENCE_S):
                assert b"credential_expired" in await to_the_end(ended)
            for client in (of_valid, of_lasting):
                for _ in range(20):
                    assert await client.read_chunk() == EVENT
