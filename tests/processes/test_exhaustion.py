"""What runs out: file descriptors, and whoever takes the log."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import time
from pathlib import Path

import yaml

from tests.support.client import RawClient, ask
from tests.support.figures import Report
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.ports import free_port
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import PATIENCE_S, asked_until

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_o6_without_file_descriptors_it_waits_and_recovers(
    start_gateway_process: StartGatewayProcess, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url), nofile=256)
        assert (await ask(gateway.port, GET)).status == 200
        async with contextlib.AsyncExitStack() as stack:
            opened = 0
            for _ in range(400):
                client = RawClient(gateway.port)
                try:
                    await stack.enter_async_context(client)
                except OSError:
                    break
                opened += 1
            before, at = gateway.cpu_s, time.perf_counter()
            await asyncio.sleep(1.0)
            spun = (gateway.cpu_s - before) / (time.perf_counter() - at)
            report("O6", f"CPU while {opened} connections want 256 descriptors, %", 100 * spun)
            assert spun < 0.3
            assert gateway.open_fds <= 256
        await asked_until(
            lambda: ask(gateway.port, GET),
            lambda answer: answer.status == 200,
            unless=(OSError, AssertionError),
            patience_s=3 * PATIENCE_S,  # one may wait for its whole patience before it is accepted
        )


async def test_o8_a_log_that_nobody_reads_stops_nothing(tmp_path: Path, report: Report) -> None:
    """Its pipe is full after 64 KiB, and stays so."""
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, server={"listen": "127.0.0.1:0"})
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump({**config, "admin": {"listen": "127.0.0.1:0"}}))
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--config", str(file)), stdout=writing
        )
        os.close(writing)
        try:
            line = await asyncio.to_thread(os.read, reading, 4096)
            port = yaml.safe_load(line)["port"]
            served = 0
            for _ in range(300):
                served += (await ask(port, GET)).status == 200
            report("O8", "requests served while nobody reads the log, of 300", served)
            assert served == 300
        finally:
            process.kill()
            await process.wait()
            os.close(reading)


async def test_o8_a_full_disk_stops_nothing(tmp_path: Path, report: Report) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, server={"listen": "127.0.0.1:0"})
        file = tmp_path / "config.yaml"
        port = free_port()
        config["server"] = {"listen": f"127.0.0.1:{port}"}
        file.write_text(yaml.safe_dump({**config, "admin": {"listen": "127.0.0.1:0"}}))
        with open("/dev/full", "wb") as full:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "serve", "--config", str(file)), stdout=full
            )
        try:
            served = 0
            async with asyncio.timeout(20):
                while served < 100:
                    with contextlib.suppress(OSError):
                        served += (await ask(port, GET)).status == 200
            report("O8", "requests served while the disk is full", served)
        finally:
            process.terminate()
            assert await process.wait() == 0
