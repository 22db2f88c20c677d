"""The gateway as developers meet it: a demo backend behind it; before it nginx, or nothing."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.demo import DemoBackend
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.nginx import StartNginx
from tests.support.tokens import Auth, bearer

_PACE_S = 0.001


@dataclass(frozen=True)
class Door:
    """Where an SDK is pointed to, and with what."""

    url: str
    token: str
    ca_file: Path | None
    """Whose certificates to believe; None without TLS."""
    gateway: RunningGateway
    backend: DemoBackend

    @property
    def verify(self) -> ssl.SSLContext | bool:
        """For clients made of httpx."""
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else True


@pytest.fixture(params=["direct", "nginx"])
async def door(
    request: pytest.FixtureRequest,
    auth: Auth,
    start_gateway: StartGateway,
    start_nginx: StartNginx,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Door]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    backend = DemoBackend(pace_s=_PACE_S)
    await backend.start()
    gateway = await start_gateway(_config(backend.url, auth))
    token = bearer().removeprefix("Authorization: Bearer ")
    if request.param == "direct":
        yield Door(gateway.url, token, None, gateway, backend)
    else:
        nginx = await start_nginx(gateway.port)
        yield Door(nginx.url, token, nginx.ca_file, gateway, backend)
    await backend.stop()


async def take_all(pieces: AsyncIterable[object], heard: list[object]) -> None:
    """Add every piece to `heard`, which keeps them when the stream raises."""
    async for piece in pieces:
        heard.append(piece)


def _config(backend_url: str, auth: Auth) -> dict[str, Any]:
    names = ("demo", "demo-embedding", "demo-whisper", "demo-reset", "demo-error")
    guarded = {"auth": ["corp"]}
    return {
        "server": {"trusted_proxies": ["127.0.0.1/32"]},
        "auth": auth,
        "limits": {"twice": {"key": "subject", "requests": "2/day"}},
        "upstreams": {
            dialect: {"dialect": dialect, "endpoints": [{"url": backend_url}]}
            for dialect in ("openai", "anthropic", "ollama")
        },
        "models": {
            **{name: {"upstream": "openai"} for name in names},
            "llama-3": {"upstream": "openai", "model": "demo-llama"},
            "demo-claude": {"upstream": "anthropic"},
            "claude-reset": {"upstream": "anthropic", "model": "demo-reset"},
            "demo-ollama": {"upstream": "ollama"},
            "ollama-reset": {"upstream": "ollama", "model": "demo-reset"},
        },
        "routes": [
            {"name": "openai", "path": "/v1/", "models": [*names, "llama-3"], **guarded},
            {
                "name": "limited",
                "path": "/limited/v1/",
                "models": ["demo"],
                "limits": ["twice"],
                **guarded,
            },
            {
                "name": "anthropic",
                "path": "/v1/messages",
                "models": ["demo-claude", "claude-reset"],
                **guarded,
            },
            {
                "name": "ollama",
                "path": "/api/",
                "models": ["demo-ollama", "ollama-reset"],
                **guarded,
            },
        ],
    }
