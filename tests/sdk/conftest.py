"""The gateway as developers meet it: a demo backend behind it; before it nginx, or nothing."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.demo import DemoBackend
from gateway.demo.text import tokens_of
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.nginx import StartNginx
from tests.support.tokens import Auth, bearer
from tests.support.waiting import eventually

PROMPT = "Hello there"
ANSWER = "".join(tokens_of(PROMPT))
"""What the demo backend says to PROMPT, in every dialect, streamed or not."""

_PACE_S = 0.001
_POLL_S = 0.01
_CLIENTS_OWN = ("OPENAI_", "ANTHROPIC_", "OLLAMA_")


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
    def verify(self) -> ssl.SSLContext:
        """For clients made of httpx: trusts `ca_file` and, without one, nobody."""
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file is not None:
            trust.load_verify_locations(self.ca_file)
        return trust

    async def generation_aborted(self) -> None:
        """Return once the backend has given up a generation. Raise TimeoutError after 5 s."""
        await eventually(lambda: self.backend.stats.aborted)


@pytest.fixture(params=["direct", "nginx"])
async def door(
    request: pytest.FixtureRequest,
    auth: Auth,
    start_gateway: StartGateway,
    start_nginx: StartNginx,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Door]:
    forget_settings(monkeypatch)
    backend = DemoBackend(pace_s=_PACE_S)
    await backend.start()
    try:
        gateway = await start_gateway(_config(backend.url, auth))
        token = bearer().removeprefix("Authorization: Bearer ")
        if request.param == "direct":
            yield Door(gateway.url, token, None, gateway, backend)
        else:
            nginx = await start_nginx(gateway.port)
            yield Door(nginx.url, token, nginx.ca_file, gateway, backend)
    finally:
        await backend.stop()


async def take_all(pieces: AsyncIterable[object], heard: list[object]) -> None:
    """Add every piece to `heard`, which keeps them when the stream raises."""
    async for piece in pieces:
        heard.append(piece)


def forget_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """SDKs read keys, headers and proxies from the environment: the tests' own only, not yours."""
    for name in os.environ:
        if name.startswith(_CLIENTS_OWN) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


def _config(backend_url: str, auth: Auth) -> dict[str, Any]:
    names = ("demo", "demo-embedding", "demo-whisper", "demo-image", "demo-reset", "demo-error")
    claudes = ("demo-claude", "claude-reset")
    guarded = {"auth": ["corp"], "check_requests": True}  # whatever an SDK sends is right
    limited = {"limits": ["twice"], **guarded}
    return {
        "server": {"trusted_proxies": ["127.0.0.1/32"]},
        "auth": auth,
        "limits": {"twice": {"key": "subject", "requests": "2/day"}},
        "upstreams": {
            dialect: {"dialect": dialect, "endpoints": [{"url": backend_url}]}
            for dialect in ("openai", "anthropic", "ollama")
        }
        | {
            name: {
                "dialect": dialect,
                "endpoints": [{"url": backend_url}],
                "timeouts": {"first_byte": "300ms"},
            }
            for name, dialect in (("hasty", "openai"), ("hasty-anthropic", "anthropic"))
        },
        "models": {
            **{name: {"upstream": "openai"} for name in names},
            "llama-3": {"upstream": "openai", "model": "demo-llama"},
            "of/demo": {"upstream": "openai", "model": "demo"},
            "demo-slow": {"upstream": "openai"},
            "demo-hang": {"upstream": "hasty"},
            "claude-slow": {"upstream": "anthropic", "model": "demo-slow"},
            "claude-hang": {"upstream": "hasty-anthropic", "model": "demo-hang"},
            "demo-claude": {"upstream": "anthropic"},
            "claude-reset": {"upstream": "anthropic", "model": "demo-reset"},
            "demo-ollama": {"upstream": "ollama"},
            "ollama-reset": {"upstream": "ollama", "model": "demo-reset"},
        },
        "routes": [
            {"name": "openai", "path": "/v1/", "models": [*names, "llama-3", "of/demo"], **guarded},
            {"name": "limited", "path": "/limited/v1/", "models": ["demo"], **limited},
            {"name": "anthropic", "path": "/v1/messages", "models": claudes, **guarded},
            {"name": "anthropic-more", "path": "/v1/messages/", "models": claudes, **guarded},
            {
                "name": "anthropic-limited",
                "path": "/limited/anthropic/",
                "strip": True,
                "models": claudes,
                **limited,
            },
            # The slow ones are silent for 100 ms in their streams, the others before.
            {
                "name": "slow",
                "path": "/slow/",
                "strip": True,
                "models": ["demo-slow", "demo-hang"],
                "heartbeat": "10ms",
                **guarded,
            },
            {
                "name": "slow-anthropic",
                "path": "/slow/anthropic/",
                "strip": True,
                "models": ["claude-slow", "claude-hang"],
                "heartbeat": "10ms",
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
