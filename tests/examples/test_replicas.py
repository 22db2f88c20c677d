"""examples/replicas: two gateways behind nginx share limits and streams through Redis."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import httpx
import pytest
import yaml

from gateway.cli.token import mint
from gateway.config.models import JwtProviderSettings
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.nginx import StartNginx
from tests.support.redis import StartRedis
from tests.support.upstream import ScriptedUpstream, stepped_stream
from tests.support.waiting import PATIENCE_S

FOLDER = Path(__file__).parents[2] / "examples/replicas"
CHAT = {"model": "llama-3.1-8b", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}


def user(gateway: RunningGateway) -> dict[str, str]:
    provider = gateway.config.auth["internal"]
    assert isinstance(provider, JwtProviderSettings)
    return {"Authorization": f"Bearer {mint(provider, 600, subject='ann')}"}


def event(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


@pytest.mark.usefixtures("patient_stores")
async def test_a_stream_goes_on_at_the_other_replica_and_its_user_has_one_limit(
    start_gateway: StartGateway,
    start_redis: StartRedis,
    start_nginx: StartNginx,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    redis = await start_redis()
    monkeypatch.setenv("REDIS_URL", redis.url)
    monkeypatch.setenv("JWT_SECRET", "s" * 32)
    document = yaml.safe_load((FOLDER / "gateway.yaml").read_text())
    document["server"] = {"trusted_proxies": ["127.0.0.1/32"]}
    async with ScriptedUpstream(stepped_stream()) as vllm:
        document["upstreams"]["vllm"]["endpoints"] = [{"url": vllm.url}]
        del document["upstreams"]["vllm"]["health"]  # the scripted backend has one answer
        replicas = [await start_gateway(document) for _ in range(2)]
        upstream = (FOLDER / "upstream.conf").read_text()
        for number, gateway in enumerate(replicas):
            upstream = upstream.replace(f"10.0.0.1{number + 1}:8080", f"127.0.0.1:{gateway.port}")
        nginx = await start_nginx(1, site={"upstream": upstream})
        headers = user(replicas[0])
        async with (
            asyncio.timeout(PATIENCE_S),
            httpx.AsyncClient(
                base_url=nginx.url, verify=nginx.trust(), headers=headers, trust_env=False
            ) as http,
        ):
            async with http.stream("POST", "/v1/chat/completions", json=CHAT) as answer:
                stream, lines = answer.headers["X-Stream-Id"], answer.aiter_lines()
                await vllm.release(event("Good"))
                last = (await anext(lines)).removeprefix("id: ")
                left = int(re.findall(r'"per-user";r=(\d+)', answer.headers["RateLimit"])[0])
            asked = {"Last-Event-ID": last}
            # nginx sends it to the replica with fewer requests; each of them has the stream.
            for gateway in replicas:
                path = f"{gateway.url}/v1/streams/{stream}"
                async with http.stream("GET", path, headers=asked) as rest:
                    assert rest.status_code == 200
            async with http.stream("GET", f"/v1/streams/{stream}", headers=asked) as rest:
                await vllm.release(event(" morning"))
                await vllm.release(b"data: [DONE]\n\n")
                await vllm.finish()
                text = "".join([line async for line in rest.aiter_lines()])
            assert '"content":" morning"' in text
            counts = []
            for gateway in replicas:
                answer = await http.get(f"{gateway.url}/v1/models")
                counts += re.findall(r'"per-user";r=(\d+)', answer.headers["RateLimit"])
    assert all(int(count) <= left for count in counts)
    assert len(vllm.requests) == 1
