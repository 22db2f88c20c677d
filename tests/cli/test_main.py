"""The command line: what it prints, where, and with which exit code.

Commands run in this process, except where the process itself matters.
The rules of configurations are in `tests/config`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

import gateway
from gateway.demo import DemoBackend
from tests.support.client import RawClient
from tests.support.commands import NOWHERE, Said, call
from tests.support.gateway import StartGateway, StartGatewayProcess, config_text, simple_config
from tests.support.tokens import SECRET, SECRET_VARIABLE, Auth
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


async def run(*arguments: str) -> Said:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), err.decode())


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@contextlib.contextmanager
def taken_address() -> Iterator[str]:
    """Where something else listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield f"127.0.0.1:{taken.getsockname()[1]}"


# -- help --------------------------------------------------------------------------------------


def test_help_names_every_command_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "--help")
    assert said.code == 0
    for word in ("serve", "check", "schema", "routes", "token", "keys", "demo", "exit codes"):
        assert word in said.out
    for code in ("0  done", "1  ", "2  ", "3  ", "4  "):
        assert code in said.out


@pytest.mark.parametrize("command", ["serve", "check", "schema", "routes", "token", "keys", "demo"])
def test_every_command_has_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    said = call(capsys, command, "--help")
    assert said.code == 0
    assert said.out.startswith(f"usage: gateway {command}")


def test_help_takes_the_name_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "help", "check") == call(capsys, "check", "--help")
    assert call(capsys, "help") == call(capsys, "--help")
    assert call(capsys, "help", "surf").code == 2


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_learns_the_commands(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    said = call(capsys, "completion", shell)
    assert said.code == 0
    for command in ("serve", "doctor", "keys"):
        assert command in said.out


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    said = call(capsys, "surf")
    assert (said.code, said.out) == (2, "")
    assert "invalid choice: 'surf'" in said.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "arguments are required: COMMAND"),
        (["serve", "a.yaml", "--config", "b.yaml"], "not allowed with argument FILE"),
        (["serve", "--config"], "expected one argument"),
        (["check", "a.yaml", "b.yaml"], "unrecognized arguments: b.yaml"),
        (["routes", "--yaml"], "unrecognized arguments: --yaml"),
        (["demo", "--pace", "fast"], "not a duration"),
        (["demo", "--pace", "20"], "not a duration"),
        (["demo", "--listen", "127.0.0.1"], "gateway: "),
        (["demo", "--listen", "127.0.0.1:http"], "gateway: "),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    said = call(capsys, *arguments)
    assert (said.code, said.out) == (2, "")
    assert reason in said.err


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version") == Said(0, f"gateway {gateway.__version__}\n", "")


# -- check, schema, routes ---------------------------------------------------------------------


def test_check_accepts_a_valid_file(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    assert call(capsys, "check", str(file)) == Said(0, f"{file}: ok\n", "")


def test_check_prints_every_problem_with_its_line(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    text = file.read_text()
    file.write_text(text.replace("upstreams:", "upstreems: {}\nupstreams:") + "surprise: 1\n")
    said = call(capsys, "check", str(file))
    assert said.code == 1
    assert said.out == ""
    assert len(said.err.splitlines()) == 2
    assert "upstreems: unknown key; did you mean 'upstreams'?" in said.err
    for line in said.err.splitlines():
        assert re.match(re.escape(str(file)) + r":\d+:\d+: ", line)


@pytest.mark.parametrize("words", [["check"], ["check", "-c"], ["routes"], ["routes", "--config"]])
def test_a_file_is_an_argument_or_an_option(
    capsys: pytest.CaptureFixture[str], file: Path, words: list[str]
) -> None:
    assert call(capsys, *words, str(file)).code == 0


def test_check_reads_standard_input(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(file.read_text()))
    assert call(capsys, "check", "-") == Said(0, "-: ok\n", "")


def test_check_warns_of_what_is_valid_and_rarely_meant(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(config_text(simple_config(f"{NOWHERE}/v1"), {}))
    said = call(capsys, "check", str(file))
    assert (said.code, said.out) == (0, f"{file}: ok\n")
    assert "endpoints[0].url: ends in /v1" in said.err
    assert said.err.endswith("(warning)\n")
    assert call(capsys, "check", "--strict", str(file)).code == 1


def test_check_tells_programs_of_problems_and_warnings(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    document = simple_config(f"{NOWHERE}/v1", middleware=[{"use": "no.such"}])
    file.write_text(config_text(document, {}))
    said = call(capsys, "check", "--json", str(file))
    assert (said.code, said.err) == (1, "")
    error, warning = (json.loads(line) for line in said.out.splitlines())
    assert (error["severity"], error["path"]) == ("error", "routes[0].middleware[0].use")
    assert (warning["severity"], warning["file"]) == ("warning", str(file))
    assert warning["line"] > 1


def test_check_reads_config_yaml_here_unless_told_otherwise(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    assert call(capsys, "check") == Said(0, "config.yaml: ok\n", "")


@pytest.mark.parametrize("command", ["check", "serve --config", "routes --config", "token -c"])
def test_a_file_that_is_not_there_is_said_by_every_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    missing = str(tmp_path / "none.yaml")
    said = call(capsys, *command.split(), missing)
    hint = "`gateway init` writes one; --config names another"
    reason = f"{missing}:1:1: cannot be read: No such file or directory; {hint}\n"
    assert said == Said(1, "", reason)


def test_check_finds_every_plug_in_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    use = [{"use": "no.such.module"}, {"use": "gateway.errors.NotFound"}]
    file.write_text(config_text(simple_config(NOWHERE, middleware=use), {}))
    said = call(capsys, "check", str(file))
    assert (said.code, said.out) == (1, "")
    first, second = said.err.splitlines()
    assert "routes[0].middleware[0].use: cannot import no.such" in first
    assert "routes[0].middleware[1].use: neither an async function" in second


async def test_serve_says_the_same_of_a_plug_in_as_check(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(config_text(simple_config(NOWHERE, middleware=[{"use": "no.such"}]), {}))
    said = await run("serve", "--config", str(file))
    assert said.code == 1
    assert said.err == call(capsys, "check", str(file)).err


async def test_schema_is_a_json_schema_of_the_configuration() -> None:
    said = await run("schema")
    schema = json.loads(said.out)
    assert (said.code, said.err) == (0, "")
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"server", "upstreams", "routes"} <= set(schema["properties"])


def test_routes_prints_the_table_most_specific_first(
    capsys: pytest.CaptureFixture[str], file: Path, auth: Auth
) -> None:
    config = simple_config(NOWHERE)
    config["auth"] = auth
    config["routes"].append(
        {"name": "exact", "path": "/v1/chat", "methods": ["POST"], "auth": ["corp"]}
        | {"upstream": "main"}
    )
    file.write_text(config_text(config, {}))
    said = call(capsys, "routes", "--config", str(file))
    lines = said.out.splitlines()
    assert " ".join(lines[0].split()) == "ROUTE PATH METHODS HOSTS AUTH LIMITS DIALECT TO"
    assert " ".join(lines[1].split()) == "exact /v1/chat POST any corp none openai main"
    assert " ".join(lines[2].split()) == "main /v1/* any any anonymous none openai main"


def test_routes_can_be_read_by_programs(
    capsys: pytest.CaptureFixture[str], file: Path, auth: Auth
) -> None:
    config = simple_config(NOWHERE, methods=["POST", "GET"], hosts=["b.test", "a.test"])
    config["auth"] = auth
    config["limits"] = {"ip": {"key": "ip", "requests": "1/second"}}
    config["models"] = {"m": {"upstream": "main"}}
    config["routes"][0] |= {"limits": ["ip"], "models": ["m"], "auth": ["corp"]}
    file.write_text(config_text(config, {}))
    said = call(capsys, "routes", "--json", "--config", str(file))
    assert [json.loads(line) for line in said.out.splitlines()] == [
        {
            **{"route": "main", "path": "/v1/*", "methods": "GET,POST", "hosts": "a.test,b.test"},
            **{"auth": "corp", "limits": "ip", "dialect": "openai", "to": "m,main"},
        }
    ]


@pytest.mark.parametrize("command", [("check",), ("routes", "--config")], ids=lambda one: one[0])
def test_looking_at_a_file_makes_no_store(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    file, store = tmp_path / "config.yaml", tmp_path / "stores/store.db"
    sections = {"store": {"url": f"sqlite://{store}"}, "auth": {"keys": {"type": "api_key"}}}
    file.write_text(config_text(simple_config(NOWHERE), sections))
    assert call(capsys, *command, str(file)).code == 0
    assert not store.parent.exists()


# -- token -------------------------------------------------------------------------------------


async def test_a_token_opens_the_gateway_it_was_made_for(
    capsys: pytest.CaptureFixture[str], start_gateway: StartGateway, file: Path, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        running = await start_gateway(simple_config(upstream.url, auth=["corp"]) | {"auth": auth})
        said = call(capsys, "token", "--config", str(file))
        assert (said.code, said.err) == (0, "")
        headers = {"authorization": f"Bearer {said.out.strip()}"}
        async with httpx.AsyncClient(trust_env=False, base_url=running.url) as client:
            assert (await client.get("/v1/x")).status_code == 401
            assert (await client.get("/v1/x", headers=headers)).json() == {"ok": True}
    (refused, served) = running.log.requests
    assert (refused["status"], served["status"]) == (401, 200)


def test_a_token_says_what_it_was_told_to(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    who = ["--subject", "ann", "--tenant", "acme", "--scopes", "chat embed", "--ttl", "90s"]
    claims = decoded(call(capsys, "token", "--config", str(file), *who))
    assert (claims["sub"], claims["org"], claims["scope"]) == ("ann", "acme", "chat embed")
    assert claims["exp"] - claims["iat"] == 90


def test_a_token_is_a_developers_for_an_hour(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    claims = decoded(call(capsys, "token", "--config", str(file)))
    assert claims["sub"] == "developer"
    assert claims["exp"] - claims["iat"] == 3600
    assert not {"org", "scope"} & set(claims)


def decoded(said: Said) -> dict[str, Any]:
    """The claims of a token that `corp` accepts."""
    assert (said.code, said.err) == (0, "")
    claims: dict[str, Any] = jwt.decode(
        said.out.strip(), SECRET, ["HS256"], audience="llm", issuer="https://sso.test"
    )
    return claims


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--provider", "none"], "--provider: there is no 'none' in `auth`: "),
        (["--provider", "keys"], "'keys' has no `secret` to sign a token with"),
        (["--provider", "partners"], "'partners' has no `secret` to sign a token with"),
        (["--ttl", "soon"], "--ttl: not a duration"),
        (["--ttl", "3600"], "--ttl: not a duration"),
        (["--ttl", ""], "--ttl: not a duration"),
    ],
)
def test_a_token_that_cannot_be_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], file: Path, auth: Auth, arguments: list[str], reason: str
) -> None:
    others = {
        "keys": {"type": "api_key", "file": "keys.yaml"},
        "partners": {"type": "jwt", "issuer": "https://i.test", "audience": "a", "jwks": "auto"},
    }
    file.write_text(config_text(simple_config(NOWHERE), {"auth": auth | others}))
    said = call(capsys, "token", "--config", str(file), *arguments)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"gateway: {reason}")


def test_a_file_with_api_keys_alone_points_to_the_command_that_makes_them(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    keys = {"keys": {"type": "api_key", "file": "keys.yaml"}}
    file.write_text(config_text(simple_config(NOWHERE), {"auth": keys}))
    said = call(capsys, "token", "--config", str(file))
    assert (said.code, said.out) == (2, "")
    assert "no provider in `auth` has a `secret`" in said.err
    assert "`gateway keys create`" in said.err


def test_a_token_without_its_secret_says_which_is_missing(
    capsys: pytest.CaptureFixture[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE)
    said = call(capsys, "token", "--config", str(file))
    assert (said.code, said.out) == (1, "")
    assert f"environment variable {SECRET_VARIABLE} is not set" in said.err


# -- serve -------------------------------------------------------------------------------------


async def test_serve_serves(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(json_reply({"ok": True})) as upstream:
        process = await start_gateway_process(simple_config(upstream.url))
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{process.port}/v1/x")
        assert answer.json() == {"ok": True}
        process.signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_an_address_that_is_taken_says_so(file: Path) -> None:
    with taken_address() as address:
        file.write_text(config_text(simple_config(NOWHERE, server={"listen": address}), {}))
        said = await run("serve", "--config", str(file))
    assert said.code == 3
    (line,) = said.err.splitlines()
    assert line.startswith(f"gateway: cannot listen on {address}: ")
    assert line.endswith(" in use. Is another process there? Change server.listen.")


@pytest.mark.parametrize("address", ["nobody.invalid:0", "192.0.2.1:0"])
async def test_an_address_of_another_machine_is_not_taken_for_a_used_one(
    file: Path, address: str
) -> None:
    file.write_text(config_text(simple_config(NOWHERE, server={"listen": address}), {}))
    said = await run("serve", "--config", str(file))
    assert said.code == 3
    assert said.err.startswith(f"gateway: cannot listen on {address}: ")
    assert said.err.endswith("It has to be an address of this machine. Change server.listen.\n")


async def test_an_address_that_is_taken_from_the_demo_backend_says_so(file: Path) -> None:
    with taken_address() as address:
        file.write_text(config_text(simple_config(NOWHERE) | {"demo": {"listen": address}}, {}))
        said = await run("serve", "--config", str(file))
    assert said.code == 3
    (line,) = said.err.splitlines()
    assert line.startswith(f"gateway: cannot listen on {address}: Address already in use")
    assert line.endswith("Change demo.listen.")


async def test_a_bad_file_is_never_served(file: Path) -> None:
    file.write_text("routes: []")
    said = await run("serve", "--config", str(file))
    assert (said.code, said.out) == (1, "")
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
    backend = DemoBackend(pace_s=0.001)
    await backend.start()
    (tmp_path / "config.yaml").write_text(DEMO.replace("BACKEND", backend.url))
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
        await process.communicate()
        await backend.stop()
    assert answer.startswith(b"data: {")
    assert answer.endswith(b"data: [DONE]\n\n")
    assert models["object"] == "list"
    assert play == f"{pages}/play"
    assert f"Bearer {token}'" in said
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
                messages = [{"role": "user", "content": "Hello"}]
                asked = {"model": "demo", "messages": messages}
                answer = (await client.post(url + "/v1/chat/completions", json=asked)).json()
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert "demo" in [model["id"] for model in models["data"]]
    assert answer["choices"][0]["message"]["content"]
    assert (process.returncode, errors) == (0, b"")


def test_a_demo_backend_whose_address_is_taken_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with taken_address() as address:
        said = call(capsys, "demo", "--listen", address)
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith(f"gateway: cannot listen on {address}: Address already in use. ")


async def test_output_that_nobody_reads_to_its_end_is_no_error() -> None:
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m gateway schema | head -1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
    )
    out, errors = await process.communicate()
    assert (out, errors) == (b"{\n", b"")


@pytest.mark.parametrize("listen", ["x", "127.0.0.1:99999", "127.0.0.1:\u0661"])
async def test_a_demo_address_that_is_none_is_a_usage_error(listen: str) -> None:
    said = await run("demo", "--listen", listen)
    assert said.code == 2
    assert "write HOST:PORT" in said.err
