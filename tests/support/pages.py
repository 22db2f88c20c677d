"""Callers of the gateway whose pages a test looks at."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from playwright.async_api import Page

from tests.support.admin import until
from tests.support.gateway import GatewayProcess
from tests.support.tokens import bearer


@contextlib.asynccontextmanager
async def client(gateway: GatewayProcess, **claims: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A caller."""
    name, _, value = bearer(**claims).partition(": ")
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{gateway.port}", headers={name: value}
    ) as session:
        yield session


def asked(model: str) -> dict[str, Any]:
    """A question whose answer is a stream."""
    return {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}


async def chat(session: aiohttp.ClientSession, model: str = "demo") -> str:
    """Ask, read the answer, and return the request's id."""
    async with session.post("/v1/chat/completions", json=asked(model)) as response:
        with contextlib.suppress(aiohttp.ClientError):
            await response.read()
        return response.headers["X-Request-ID"]


async def kept(gateway: GatewayProcess, identity: str) -> None:
    """Wait until the record of a request is in the local store: a little after its end."""
    await until(gateway, f"/api/traces/{identity}", lambda found: "error" not in found)


async def wide(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    found: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return found
