"""`gateway serve`: what it prints, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from gateway.demo import DemoBackend
from tests.support.client import RawClient
from tests.support.commands import NOWHERE, call, environment, run, taken_address
from tests.support.fork_server import ForkServer
from tests.support.gateway import StartGatewayProcess, config_text, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream

DEMO = """\
server: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
demo: {listen: "127.0.0.1:0"}
auth:
  demo:
    {type: jwt, algorithm: HS256, issuer: i, audience: a,
     secret: {file: made/secret, generate: true}}
upstreams: {demo: {endpoints: [{url: BACKEND}]}}
models: {demo: {upstream: demo}}
routes: [{name: openai, path: /v1/, auth: [demo], models: [demo]}]
"""


async def test_serve_says_the_same_of_a_plug_in_as_check(
    capsys: pytest.CaptureFixture[str], file: Path, fork_server: ForkServer
) -> None:
    file.write_text(config_text(simple_config(NOWHERE, middleware=[{"use": "no.such"}]), {}))
    # A process of its own: the master forks, and takes SIGCHLD, which the event loops here need.
    said = await run(fork_server, "serve", "--config", str(file))
    assert said.code == 1
    assert said.err == call(capsys, "check", str(file)).err


async def test_serve_serves(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        process = await start_gateway_process(simple_config(upstream.url))
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{process.port}/v1/x")
        assert answer.json() == {"ok": True}
        process.signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_an_address_that_is_taken_says_so(file: Path, fork_server: ForkServer) -> None:
    with taken_address() as address:
        file.write_text(config_text(simple_config(NOWHERE, server={"listen": address}), {}))
        said = await run(fork_server, "serve", "--config", str(file))
    assert said.code == 3
    (line,) = said.err.splitlines()
    assert line.startswith(f"gateway: cannot listen on {address}: ")
    assert line.endswith(" in use. Is another process there? Change server.listen.")


@pytest.mark.parametrize("address", ["nobody.invalid:0", "192.0.2.1:0"])
async def test_an_address_of_another_machine_is_not_taken_for_a_used_one(
    file: Path, address: str, fork_server: ForkServer
) -> None:
    file.write_text(config_text(simple_config(NOWHERE, server={"listen": address}), {}))
    said = await run(fork_server, "serve", "--config", str(file))
    assert said.code == 3
    assert said.err.startswith(f"gateway: cannot listen on {address}: ")
    assert said.err.endswith("It has to be an address of this machine. Change server.listen.\n")


async def test_an_address_that_is_taken_from_the_demo_backend_says_so(
    file: Path, fork_server: ForkServer
) -> None:
    with taken_address() as address:
        file.write_text(config_text(simple_config(NOWHERE) | {"demo": {"listen": address}}, {}))
        said = await run(fork_server, "serve", "--config", str(file))
    assert said.code == 3
    (line,) = said.err.splitlines()
    assert line.startswith(f"gateway: cannot listen on {address}: Address already in use")
    assert line.endswith("Change demo.listen.")


def test_a_bad_file_is_never_served(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text("routes: []")
    said = call(capsys, "serve", "--config", str(file))
    assert (said.code, said.out) == (1, "")
    assert "upstreams: is missing" in said.err


def test_without_aiohttps_c_parser_it_does_not_start(file: Path) -> None:
    # A program of its own: aiohttp reads the variable when it is imported.
    said = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", "--config", str(file)],
        env={**environment(), "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 3
    assert "C parser" in said.stderr
    assert "pip install --force-reinstall" in said.stderr


async def test_sigterm_lets_a_stream_end(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        process = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(process.port) as client:
            await client.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            process.signal(signal.SIGTERM)
            draining = await process.log.wait_for(lambda line: line["event"] == "draining")
            assert (draining["signal"], draining["open"]) == ("SIGTERM", 1)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", process.port)
            await upstream.release(b"data: 2\n\n")
            await upstream.finish()
            assert await client.read_chunk() == b"data: 1\n\n"
            assert await client.read_chunk() == b"data: 2\n\n"
            assert await client.read_chunk() is None
        assert await process.wait() == 0


async def test_a_second_sigterm_ends_at_once(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        process = await start_gateway_process(simple_config(upstream.url))
        async with RawClient(process.port) as client:
            await client.send(b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await upstream.release(b"data: 1\n\n")
            process.signal(signal.SIGTERM)
            await process.log.wait_for(lambda line: line["event"] == "draining")
            process.signal(signal.SIGTERM)
            assert await process.wait() == 0


async def test_the_curl_it_prints_works_when_pasted(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    backend = DemoBackend(pace_s=0.001)
    await backend.start()
    (tmp_path / "config.yaml").write_text(DEMO.replace("BACKEND", backend.url))
    process = await fork_server.start(["serve"], folder=tmp_path)
    try:
        async with asyncio.timeout(20):
            said = (await process.stderr.readuntil(b"}'\n")).decode()
            pasted = await asyncio.create_subprocess_exec(
                *("sh", "-c", said[said.index("curl ") :]),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            answer, _ = await pasted.communicate()
            (demo,) = re.findall(r"demo backend +(http://127\.0\.0\.1:\d+)", said)
            rest = (await process.stderr.readuntil(b"Watch it fail")).decode()
            (pages,) = re.findall(r"dashboard +(http://127\.0\.0\.1:\d+)", said)
            (play, token) = re.findall(r"in a browser: +(\S+)#token=(\S+)", rest)[0]
            async with httpx.AsyncClient(trust_env=False) as client:
                models = (await client.get(demo + "/v1/models")).json()
                assert (await client.get(pages)).status_code == 200
                assert (await client.get(play)).status_code == 200
    finally:
        process.terminate()
        code = await process.wait()
        await backend.stop()
    assert answer.startswith(b"data: {")
    assert answer.endswith(b"data: [DONE]\n\n")
    assert models["object"] == "list"
    assert play == f"{pages}/play"
    assert f"Bearer {token}'" in said
    assert (tmp_path / "made/secret").stat().st_mode & 0o777 == 0o600
    assert code == 0
