"""Binary upgrade: another master takes over the sockets, and no connection is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter

import yaml

from tests.support.admin import told
from tests.support.client import RawClient, ask
from tests.support.figures import Report
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.ports import free_port
from tests.support.processes import children_of
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream
from tests.support.waiting import PATIENCE_S, asked_until, eventually

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
            await eventually(lambda: outcomes.total() >= before + 100)
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


async def test_an_upgrade_with_the_demo_backend_keeps_it_reachable(
    start_gateway_process: StartGatewayProcess,
) -> None:
    port = free_port()
    config = simple_config(f"http://127.0.0.1:{port}")
    gateway = await start_gateway_process({**config, "demo": {"listen": f"127.0.0.1:{port}"}})
    outcomes: Counter[object] = Counter()
    request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    gateway.signal(signal.SIGUSR2)
    ready = asyncio.create_task(
        gateway.log.wait_for(
            lambda line: line["event"] == "listening" and line["pid"] != gateway.master_pid
        )
    )
    ended = asyncio.create_task(gateway.wait())
    while not (ready.done() and ended.done()):
        outcomes[(await ask(gateway.port, request)).status] += 1
    outcomes[(await ask(gateway.port, request)).status] += 1
    assert set(outcomes) == {200}
    assert await ended == 0
    os.kill((await ready)["pid"], signal.SIGTERM)


async def test_an_upgrade_listens_where_the_file_says_now(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        port = free_port()
        document = yaml.safe_load(gateway.file.read_text())
        document["server"] = {**document.get("server", {}), "listen": f"127.0.0.1:{port}"}
        gateway.file.write_text(yaml.safe_dump(document))
        gateway.signal(signal.SIGUSR2)
        ready = await gateway.log.wait_for(
            lambda line: line["event"] == "listening" and line["pid"] != gateway.master_pid
        )
        assert ready["port"] == port
        assert await gateway.wait() == 0
        assert (await ask(port, GET)).status == 200
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


async def test_a_reload_during_an_upgrade_reaches_the_next_gateway(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        before = children_of(gateway.master_pid)
        gateway.signal(signal.SIGUSR2)
        await eventually(
            # Its children exist: it has read the file.
            lambda: any(map(children_of, children_of(gateway.master_pid) - before)),
            patience_s=PATIENCE_S,
        )
        document = yaml.safe_load(gateway.file.read_text())
        document["routes"][0]["path"] = "/v2/"
        gateway.file.write_text(yaml.safe_dump(document))
        gateway.signal(signal.SIGHUP)
        ready = await gateway.log.wait_for(
            lambda line: line["event"] == "listening" and line["pid"] != gateway.master_pid
        )
        assert await gateway.wait() == 0
        await asked_until(
            lambda: ask(gateway.port, GET.replace(b"/v1/", b"/v2/")),
            lambda got: got.status == 200,
            patience_s=PATIENCE_S,
        )
        os.kill(ready["pid"], signal.SIGTERM)
