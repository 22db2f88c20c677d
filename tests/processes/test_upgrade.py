"""Binary upgrade: another master takes over the sockets, and no connection is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

from tests.support.admin import told
from tests.support.client import RawClient, ask
from tests.support.figures import Report
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STREAM = b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_an_upgrade_under_load_loses_no_request_and_cuts_no_stream(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with (
        ScriptedUpstream(json_reply({})) as upstream,
        ScriptedUpstream(stepped_stream()) as streaming,
    ):
        config = simple_config(upstream.url, server={"workers": 2})
        config["upstreams"]["streaming"] = {"endpoints": [{"url": streaming.url}]}
        config["routes"].append(
            {"name": "s", "path": "/v1/stream", "auth": "anonymous", "upstream": "streaming"}
        )
        gateway = await start_gateway_process(config)
        outcomes: Counter[object] = Counter()
        running = True

        async def ask_on() -> None:
            while running:
                try:
                    outcomes[(await ask(gateway.port, GET)).status] += 1
                except (OSError, AssertionError, asyncio.IncompleteReadError) as exc:
                    outcomes[type(exc).__name__] += 1

        async with RawClient(gateway.port) as client:
            await client.send(STREAM)
            await streaming.release(b"data: 1\n\n")
            await client.read_head()
            askers = [asyncio.create_task(ask_on()) for _ in range(8)]
            gateway.signal(signal.SIGUSR2)
            ready = await gateway.log.wait_for(
                lambda line: line["event"] == "listening" and line["pid"] != gateway.master_pid
            )
            await gateway.log.wait_for(lambda line: line["event"] == "draining")
            before = outcomes.total()
            while outcomes.total() < before + 100:  # noqa: ASYNC110 -- the other tasks' to do
                await asyncio.sleep(0.01)
            await streaming.release(b"data: 2\n\n")
            await streaming.finish()
            assert await client.read_chunk() == b"data: 1\n\n"
            assert await client.read_chunk() == b"data: 2\n\n"
            assert await client.read_chunk() is None
        assert await gateway.wait() == 0  # the old master
        running = False
        await asyncio.gather(*askers)
        pids = {row["pid"] for row in (await told(gateway, "/api/workers"))["workers"]}
        assert pids == set(ready["workers"])
        report("upgrade", f"requests lost, of {outcomes.total()}", outcomes.total() - outcomes[200])
        assert set(outcomes) == {200}
        os.kill(ready["pid"], signal.SIGTERM)


async def test_an_upgrade_to_a_file_that_is_bad_leaves_the_old_one_serving(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        gateway.file.write_text("nonsense")
        gateway.signal(signal.SIGUSR2)
        line = await gateway.log.wait_for(lambda line: line["event"] == "upgrade_failed")
        assert line["status"] == 1
        assert (await ask(gateway.port, GET)).status == 200
