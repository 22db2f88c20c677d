"""A browser's EventSource, its own reconnecting included."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.resume.streams import post
from tests.support.admin import until
from tests.support.browser import browser_at
from tests.support.client import RawClient
from tests.support.gateway import (
    RunningGateway,
    StartGateway,
    StartGatewayProcess,
    simple_config,
)
from tests.support.nginx import StartNginx
from tests.support.redis import StartRedis
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream

COUNT = 4
PATIENCE_S = 40.0
PAGE = """<!doctype html><script>
const met = {data: [], numbers: [], opened: 0};
const source = new EventSource("%s");
source.onopen = () => (met.opened += 1);
let last = "";
source.onmessage = (event) => {
  if (event.lastEventId === last) return;  // has none of its own: it is about the connection
  last = event.lastEventId;
  met.data.push(event.data);
  met.numbers.push(Number(event.lastEventId.split(".")[1]));
};
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED)
    fetch("%s", {method: "POST", mode: "no-cors", body: JSON.stringify(met)});
};
</script>"""


@asynccontextmanager
async def page(folder: Path, source: str, report: str, *options: str) -> AsyncIterator[None]:
    """Open in a browser a page that reads `source` to its end, and then says what it met."""
    file = folder / "page.html"
    file.write_text(PAGE % (source, report))
    async with browser_at(file.as_uri(), folder / "profile", *options):
        yield


def close(gateway: RunningGateway) -> None:
    """Close the connections of those who read; what was written still arrives."""
    for connection in [*gateway.server.listener.connections]:
        if connection.transport is not None:
            connection.transport.close()


async def test_it_reconnects_goes_on_and_ends_and_reads_compressed(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with (
        ScriptedUpstream(stepped_stream()) as upstream,
        ScriptedUpstream(json_reply({})) as reports,
    ):
        resume = {"on_disconnect": "grace", "grace": "60s"}
        route: dict[str, Any] = {
            "cors": {"origins": ["*"]},
            "retry": "200ms",
            "compress": ["br", "gzip"],
        }
        gateway = await start_gateway(simple_config(upstream.url, resume=resume, **route))
        async with page(tmp_path, f"{gateway.url}/v1/events", reports.url):
            async with asyncio.timeout(PATIENCE_S):
                await upstream.request_seen.wait()
            for number in range(1, COUNT + 1):
                await upstream.release(b": noise\n\ndata: %d\n\n" % number)
                if number == 2:
                    close(gateway)
            await upstream.finish()
            async with asyncio.timeout(PATIENCE_S):
                await reports.request_seen.wait()
        met = json.loads(reports.requests[0].body)
        read = await gateway.wait_for_log(lambda line: line.get("bytes_saved", 0) > 0)
    assert read["path"].endswith("/events")
    assert met["data"] == [str(number) for number in range(1, COUNT + 1)]
    assert met["numbers"] == [*range(1, COUNT + 1)]
    assert met["opened"] == 2
    assert len(upstream.requests) == 1


async def test_it_goes_on_through_nginx_while_its_gateway_restarts(
    start_redis: StartRedis,
    start_gateway: StartGateway,
    start_gateway_process: StartGatewayProcess,
    start_nginx: StartNginx,
    tmp_path: Path,
) -> None:
    redis = await start_redis()
    async with (
        ScriptedUpstream(stepped_stream()) as upstream,
        ScriptedUpstream(json_reply({})) as reports,
    ):
        config = simple_config(upstream.url, cors={"origins": ["*"]}, resume={}, retry="200ms")
        config["store"] = {"url": redis.url}
        owner = await start_gateway(config)
        front = await start_gateway_process(config, server={"drain": "100ms"})
        nginx = await start_nginx(front.port)
        async with RawClient(owner.port) as client:
            await client.send(post())
            await upstream.release(b"data: 1\n\n")
            stream = ((await client.read_head()).value("x-stream-id") or b"").decode()
            source = f"{nginx.url}/v1/streams/{stream}"
            async with page(tmp_path, source, reports.url, "--ignore-certificate-errors"):
                await until(front, "/api/requests", lambda told: told["requests"])
                await upstream.release(b"data: 2\n\n")
                front.signal(signal.SIGUSR2)
                assert await front.wait() == 0  # another one has its place
                started = await front.log.wait_for(
                    lambda line: line["event"] == "listening" and line["pid"] != front.master_pid
                )
                for number in range(3, COUNT + 1):
                    await upstream.release(b"data: %d\n\n" % number)
                await upstream.finish()
                async with asyncio.timeout(PATIENCE_S):
                    await reports.request_seen.wait()
        os.kill(started["pid"], signal.SIGTERM)
        met = json.loads(reports.requests[0].body)
    assert met["data"] == [str(number) for number in range(1, COUNT + 1)]
    assert met["numbers"] == [*range(1, COUNT + 1)]
    assert met["opened"] == 2
    assert len(upstream.requests) == 1
