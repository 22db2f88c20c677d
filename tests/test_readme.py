"""README.md: its configuration serves, and its transcripts are what the commands print."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
import yaml
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from gateway import __version__
from gateway.cli.token import mint
from gateway.config.models import JwtProviderSettings
from gateway.demo import DemoBackend
from tests.support.commands import called
from tests.support.examples import HELLO, Backend, sent
from tests.support.gateway import StartGateway, config_text

CHAT = {"messages": HELLO}
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
[OWN] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
BAD = """\
server: {listn: 127.0.0.1:8080, header_timeout: 10}
upstreams:
  vllm:
    endpoints: [{url: "10.0.0.5:8000"}]
    credentials: {bearer: {env: VLLM_KEY}}
models:
  llama-3: {upstream: vlm}
routes:
  - {name: openai, path: /v1/, auth: [corp], models: [llama-3]}
"""


def transcript(command: str) -> str:
    """What the README shows after a command."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    [block] = (block for block in blocks if f"$ {command}" in block)
    return str(block.partition(f"$ {command}")[2])


async def test_the_configuration_for_an_own_backend_answers_and_falls_back(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(OWN.splitlines()) <= 15
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    vllm, openai = Backend(""), Backend("")
    document = yaml.safe_load(OWN)
    document["upstreams"]["vllm"]["endpoints"] = [{"url": await vllm.start()}]
    document["upstreams"]["openai"]["endpoints"] = [{"url": await openai.start()}]
    Path("config.yaml").write_text(config_text(document, {}))
    made = await called("keys", "create", "--owner", "you@example.com")
    try:
        gateway = await start_gateway({**document, "server": {}})
        http = httpx.AsyncClient(
            base_url=f"{gateway.url}/v1",
            headers={"Authorization": f"Bearer {made.out.strip()}"},
            trust_env=False,
        )
        async with http:
            for refuses in (False, True):
                vllm.refuses = refuses
                answer = await http.post("/chat/completions", json={"model": "llama"} | CHAT)
                assert answer.json()["choices"][0]["message"]["content"]
            listed = (await http.get("/models")).json()["data"]
    finally:
        await vllm.stop()
        await openai.stop()
    assert [model["id"] for model in listed] == ["llama", "gpt-mini"]
    assert sent(openai).headers["Authorization"] == "Bearer sk-openai"


async def test_a_stream_that_fails_ends_and_is_logged_as_shown(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = DemoBackend(pace_s=0.0)
    await backend.start()
    document = yaml.safe_load((ROOT / "config.yaml").read_text())
    url = document["demo"]["listen"]
    text = config_text(document, {"server": {}, "demo": None}).replace(url, backend.url[7:])
    try:
        gateway = await start_gateway(text)
        provider = next(
            one for one in gateway.config.auth.values() if isinstance(one, JwtProviderSettings)
        )
        body = json.loads(re.findall(r"-H 'x-demo-fault: reset@2' \\\n +-d '(.*?)'", README)[0])
        headers = {
            "Authorization": f"Bearer {mint(provider, 60, subject='developer')}",
            "X-Demo-Fault": "reset@2",
        }
        lines: list[str] = []
        async with httpx.AsyncClient(
            base_url=gateway.url, headers=headers, trust_env=False
        ) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await _collect(http, body, lines)
        logged = await gateway.wait_for_log(lambda line: line.get("event") == "request")
    finally:
        await backend.stop()
    shown = [line for line in transcript("curl -sN").splitlines() if line[:3] in ("id:", "dat")]
    assert [line.partition(":")[0] for line in shown] == [
        line.partition(":")[0] for line in filter(None, lines)
    ]
    assert _error(shown[-1]) == _error(lines[-2])
    [example] = re.findall(r"```json\n(.*?)\n```", README, re.DOTALL)
    assert json.loads(example).keys() == logged.keys()


async def _collect(http: httpx.AsyncClient, body: object, lines: list[str]) -> None:
    async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)


def _error(line: str) -> dict[str, object]:
    error: dict[str, object] = json.loads(line.removeprefix("data: "))["error"]
    return {**error, "request_id": None}


async def test_every_mistake_of_a_file_is_shown_as_check_prints_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(BAD)
    said = await called("check", "bad.yaml")
    assert said.err.strip() == transcript("gateway check bad.yaml").strip()


async def test_init_prints_what_is_shown(
    aiohttp_server: AiohttpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def models(_: web.Request) -> web.Response:
        model = {"id": "meta-llama/Llama-3.1-8B-Instruct", "owned_by": "vllm"}
        return web.json_response({"object": "list", "data": [model]})

    monkeypatch.chdir(tmp_path)
    shown = transcript("gateway init")
    options, _, shown = shown.partition("\n")
    command = options.split()
    for placeholder in re.findall(r"http://\S+", options):
        application = web.Application()
        application.router.add_get("/v1/models", models)
        url = str((await aiohttp_server(application)).make_url("")).rstrip("/")
        shown = shown.replace(placeholder, url)
        command = [url if part == placeholder else part for part in command]
    said = await called("init", *command)
    assert (said.code, said.out) == (0, shown)


def test_the_wheel_has_the_version_of_today() -> None:
    named = set(re.findall(r"llm_gateway-(\d[\w.]*)-py3", README))
    assert named == {__version__}
