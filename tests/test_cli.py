"""The command line, as a process: what it prints, where, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import jwt
import pytest

import gateway
from tests.support.client import RawClient
from tests.support.gateway import StartGatewayProcess, config_text, simple_config
from tests.support.tokens import SECRET, SECRET_VARIABLE, Auth
from tests.support.upstream import ScriptedUpstream, stepped_stream

NOWHERE = "http://127.0.0.1:1"
DEMO = """\
server: {listen: "127.0.0.1:0"}
demo: {listen: "127.0.0.1:PORT", pace: 1ms}
auth:
  demo:
    {type: jwt, algorithm: HS256, issuer: i, audience: a,
     secret: {file: made/secret, generate: true}}
upstreams: {demo: {endpoints: [{url: "http://127.0.0.1:PORT"}]}}
models: {demo: {upstream: demo}}
routes: [{name: openai, path: /v1/, auth: [demo], models: [demo]}]
"""


@dataclass
class Said:
    """What a command said."""

    code: int
    out: str
    err: str


async def run(*arguments: str, cwd: Path | None = None) -> Said:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env=_environment(),
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}


@pytest.fixture
def file(tmp_path: Path, auth: Auth) -> Path:
    """A small valid configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(config_text(simple_config(NOWHERE), {"auth": auth}))
    return path


# -- help --------------------------------------------------------------------------------------


async def test_help_names_every_command_and_every_exit_code() -> None:
    said = await run("--help")
    assert said.code == 0
    for word in ("serve", "check", "schema", "routes", "token", "keys", "demo", "exit codes"):
        assert word in said.out
    for code in ("0  done", "1  ", "2  ", "3  "):
        assert code in said.out


@pytest.mark.parametrize("command", ["serve", "check", "schema", "routes", "token", "demo"])
async def test_every_command_has_help(command: str) -> None:
    said = await run(command, "--help")
    assert said.code == 0
    assert said.out.startswith(f"usage: gateway {command}")


async def test_an_unknown_command_is_a_usage_error() -> None:
    said = await run("surf")
    assert said.code == 2
    assert "invalid choice: 'surf'" in said.err


async def test_the_version_is_the_packages() -> None:
    assert (await run("--version")).out == f"gateway {gateway.__version__}\n"


# -- check, schema, routes ---------------------------------------------------------------------


async def test_check_accepts_a_valid_file(file: Path) -> None:
    said = await run("check", str(file))
    assert (said.code, said.out, said.err) == (0, f"{file}: ok\n", "")


async def test_check_prints_every_problem_with_its_line(file: Path) -> None:
    text = file.read_text()
    file.write_text(text.replace("upstreams:", "upstreems: {}\nupstreams:") + "surprise: 1\n")
    said = await run("check", str(file))
    assert said.code == 1
    assert said.out == ""
    assert len(said.err.splitlines()) == 2
    assert "upstreems: unknown key; did you mean 'upstreams'?" in said.err
    for line in said.err.splitlines():
        assert re.match(re.escape(str(file)) + r":\d+:\d+: ", line)


async def test_check_of_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    said = await run("check", str(tmp_path / "none.yaml"))
    assert said.code == 1
    assert "cannot be read: No such file or directory" in said.err


async def test_check_finds_every_plug_in_that_cannot_be_used(file: Path) -> None:
    use = [{"use": "no.such.module"}, {"use": "gateway.errors.NotFound"}]
    file.write_text(config_text(simple_config(NOWHERE, middleware=use), {}))
    said = await run("check", str(file))
    assert said.code == 1
    first, second = said.err.splitlines()
    assert "routes[0].middleware[0].use: cannot import no.such" in first
    assert "routes[0].middleware[1].use: neither an async function" in second


async def test_serve_says_the_same_of_a_plug_in_as_check(file: Path) -> None:
    file.write_text(config_text(simple_config(NOWHERE, middleware=[{"use": "no.such"}]), {}))
    said = await run("serve", "--config", str(file))
    assert said.code == 1
    assert said.err == (await run("check", str(file))).err


async def test_schema_is_a_json_schema_of_the_configuration() -> None:
    schema = json.loads((await run("schema")).out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"server", "upstreams", "routes"} <= set(schema["properties"])


async def test_routes_prints_the_table_most_specific_first(file: Path, auth: Auth) -> None:
    config = simple_config(NOWHERE)
    config["auth"] = auth
    config["routes"].append(
        {"name": "exact", "path": "/v1/chat", "methods": ["POST"], "auth": ["corp"]}
        | {"upstream": "main"}
    )
    file.write_text(config_text(config, {}))
    said = await run("routes", "--config", str(file))
    lines = said.out.splitlines()
    assert " ".join(lines[0].split()) == "ROUTE PATH METHODS HOSTS AUTH LIMITS DIALECT TO"
    assert " ".join(lines[1].split()) == "exact /v1/chat POST any corp none openai main"
    assert " ".join(lines[2].split()) == "main /v1/* any any anonymous none openai main"


async def test_routes_can_be_read_by_programs(file: Path) -> None:
    said = await run("routes", "--json", "--config", str(file))
    (row,) = map(json.loads, said.out.splitlines())
    assert (row["route"], row["auth"], row["to"]) == ("main", "anonymous", "main")


# -- token -------------------------------------------------------------------------------------


async def test_a_token_is_what_the_provider_accepts(file: Path) -> None:
    said = await run("token", "--config", str(file), "--subject", "ann", "--tenant", "acme")
    claims = jwt.decode(
        said.out.strip(), SECRET, ["HS256"], audience="llm", issuer="https://sso.test"
    )
    assert (claims["sub"], claims["org"]) == ("ann", "acme")
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--provider", "none"], "no provider with a secret"),
        (["--ttl", "soon"], "--ttl: not a duration"),
    ],
)
async def test_a_token_that_cannot_be_is_a_usage_error(
    file: Path, arguments: list[str], reason: str
) -> None:
    said = await run("token", "--config", str(file), *arguments)
    assert said.code == 2
    assert reason in said.err


async def test_a_token_without_its_secret_says_which_is_missing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE)
    said = await run("token", "--config", str(file))
    assert said.code == 1
    assert f"environment variable {SECRET_VARIABLE} is not set" in said.err


# -- serve -------------------------------------------------------------------------------------


async def test_an_address_that_is_taken_says_so(file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        file.write_text(config_text(simple_config(NOWHERE, server={"listen": address}), {}))
        said = await run("serve", "--config", str(file))
    assert said.code == 3
    assert f"cannot listen on {address}" in said.err
    assert "server.listen" in said.err


async def test_a_bad_file_is_never_served(file: Path) -> None:
    file.write_text("routes: []")
    said = await run("serve", "--config", str(file))
    assert said.code == 1
    assert "upstreams: is missing" in said.err


async def test_without_aiohttps_c_parser_it_does_not_start(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOHTTP_NO_EXTENSIONS", "1")
    said = await run("serve", "--config", str(file))
    assert said.code == 3
    assert "C parser" in said.err
    assert "pip install --force-reinstall" in said.err


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


async def test_the_curl_it_prints_works_when_pasted(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "config.yaml").write_text(DEMO.replace("PORT", str(port)))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=tmp_path,
        env=_environment(),
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(20):
            said = (await process.stderr.readuntil(b"}'\n")).decode()
            pasted = await asyncio.create_subprocess_exec(
                *("sh", "-c", said[said.index("curl ") :]),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            answer, _ = await pasted.communicate()
    finally:
        process.terminate()
        await process.communicate()
    assert answer.endswith(b"data: [DONE]\n\n")
    assert (tmp_path / "made/secret").stat().st_mode & 0o777 == 0o600
    assert process.returncode == 0


# -- demo --------------------------------------------------------------------------------------


async def test_demo_serves_the_backend_alone() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "demo", "--listen", "127.0.0.1:0", "--pace", "1ms"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().split()[-1]
            async with httpx.AsyncClient(trust_env=False) as client:
                models = (await client.get(url + "/v1/models")).json()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert "demo" in [model["id"] for model in models["data"]]
    assert (process.returncode, errors) == (0, b"")
