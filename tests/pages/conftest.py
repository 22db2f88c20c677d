"""One Chromium and one gateway with the demo backend for all tests of pages.

They live in the event loop of the session, and so do these tests: starting either takes longer than
most of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from gateway.demo import DemoBackend
from tests.support.browser import Opened, OpenPage, Screen
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.tokens import CORP, SECRET, SECRET_VARIABLE
from tests.support.upstream import ScriptedUpstream, stepped_stream

expect.set_options(timeout=30_000)
ADMIN_TOKEN = "operators-only-7f3a"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def backend() -> AsyncIterator[DemoBackend]:
    demo = DemoBackend(pace_s=0.005)
    await demo.start("127.0.0.1", 0)
    yield demo
    await demo.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stepped() -> AsyncIterator[ScriptedUpstream]:
    """Behind the route `stepped`: streams by the test's own steps."""
    async with ScriptedUpstream(stepped_stream()) as upstream:
        yield upstream


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def gateway(
    backend: DemoBackend,
    stepped: ScriptedUpstream,
    tmp_path_factory: pytest.TempPathFactory,
    fork_server: ForkServer,
) -> AsyncIterator[GatewayProcess]:
    """Two workers, limits and a budget, endpoints that are not there, and all traces kept."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(SECRET_VARIABLE, SECRET)
        running = GatewayProcess(
            _config(folder, backend.url, stepped.url),
            {},
            folder / "gateway.yaml",
            fork_server=fork_server,
        )
        await running.start()
        yield running
        await running.stop()
    assert b"Traceback" not in running.errors, running.errors.decode()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def closed_gateway(
    backend: DemoBackend, tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer
) -> AsyncIterator[GatewayProcess]:
    """One whose admin listener asks for a token."""
    folder = tmp_path_factory.mktemp("closed")
    admin = {"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ADMIN_TOKEN", ADMIN_TOKEN)
        running = GatewayProcess(
            simple_config(backend.url),
            {"admin": admin},
            folder / "gateway.yaml",
            fork_server=fork_server,
        )
        await running.start()
        yield running
        await running.stop()
    assert b"Traceback" not in running.errors, running.errors.decode()


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser) -> AsyncIterator[OpenPage]:
    """Opens pages. In the end none may have broken its policy, asked another host, or failed."""
    opened: list[Opened] = []

    async def start(gateway: GatewayProcess, path: str, screen: Screen = Screen()) -> Opened:  # noqa: B008
        page = await Opened.start(chromium, gateway, path, screen)
        opened.append(page)
        return page

    yield start
    faults = [fault for page in opened for fault in await page.close()]
    assert faults == []


def _config(folder: Path, backend: str, stepped: str) -> dict[str, Any]:
    models = ("demo", "demo-stall", "demo-reset", "demo-hang", "demo-image", "demo-whisper")
    return {
        "server": {"workers": 2},
        "admin": {
            "listen": "127.0.0.1:0",
            "links": {"Jaeger": "http://jaeger.test/trace/{trace_id}"},
        },
        "store": {"url": f"sqlite://{folder / 'store.db'}"},
        "telemetry": {
            "log": {"format": "json"},
            "traces": {"sample": 1.0, "local": str(folder / "traces.db")},
        },
        "auth": {**CORP, "door": {"type": "ticket"}, "keys": {"type": "api_key"}},
        "limits": {
            "per-user": {"key": "subject", "requests": "6000/minute"},
            "once": {"key": "subject", "requests": "1/day"},
            "monthly": {"key": "tenant", "budget": "50 USD/month"},
        },
        "upstreams": {
            "demo": {"endpoints": [{"url": backend}]},
            "stepped": {"endpoints": [{"url": stepped}]},
            "pair": {
                "endpoints": [{"url": "http://127.0.0.1:9"}, {"url": "http://127.0.0.1:10"}],
                "headers": {"X-Key": "canary7f3a"},
            },
        },
        "models": {
            name: {"upstream": "demo", "price": {"input": 1.0, "output": 4.0}} for name in models
        },
        "routes": [
            {
                "name": "chat",
                "path": "/v1/",
                "auth": ["corp", "keys"],
                "limits": ["per-user", "monthly"],
                "models": list(models),
                "resume": {},
            },
            {
                "name": "claude",
                "path": "/anthropic/",
                "strip": True,
                "dialect": "anthropic",
                "auth": ["corp"],
                "models": list(models),
            },
            {
                "name": "tight",
                "path": "/v1/embeddings",
                "auth": ["corp"],
                "limits": ["once"],
                "upstream": "demo",
            },
            {
                "name": "stepped",
                "path": "/stepped/v1/",
                "methods": ["POST"],
                "auth": ["corp"],
                "upstream": "stepped",
                "resume": {},
            },
            {
                "name": "stepped-socket",
                "path": "/stepped/v1/stream",
                "auth": ["corp"],
                "bridge": {"to": "stepped"},
            },
            {
                "name": "chat-socket",
                "path": "/v1/stream",
                "auth": ["corp", "door"],
                "bridge": {"to": "chat"},
            },
            {
                "name": "tickets",
                "path": "/auth/ticket",
                "methods": ["POST"],
                "auth": ["corp"],
                "issues": "door",
            },
            {"name": "pair", "path": "/pair/", "auth": ["corp"], "upstream": "pair"},
        ],
    }
