"""The dashboard, walked in Chromium while requests come in."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from playwright.async_api import Page, expect

from tests.support.browser import OpenPage, Screen
from tests.support.gateway import GatewayProcess
from tests.support.tokens import bearer

pytestmark = pytest.mark.asyncio(loop_scope="session")
VIEWS = ("now", "requests", "upstreams", "limits", "usage", "config", "play")


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


async def wide(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    found: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return found


@pytest.mark.parametrize("screen", [Screen(1280, "light"), Screen(360, "dark")], ids=str)
async def test_everybody_can_use_every_view(
    gateway: GatewayProcess, open_page: OpenPage, screen: Screen
) -> None:
    async with client(gateway, sub="ann", org="acme") as session:
        last = await chat(session)
    opened = await open_page(gateway, "/", screen)
    for number, name in enumerate(VIEWS, start=1):
        await opened.page.keyboard.press(str(number))
        await expect(opened.page.locator("main")).to_have_attribute("data-view", name)
        await opened.settled()
        assert (name, await opened.axe()) == (name, [])
        assert (name, await wide(opened.page)) == (name, 0)
    await opened.page.goto(f"{opened.origin}/requests/{last}")
    await opened.page.locator(".waterfall summary").first.click()
    assert await opened.axe() == []
    assert await wide(opened.page) == 0


async def test_streams_are_counted_while_they_are_open(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/")
    tile = opened.page.locator(".tile", has_text="Active streams").locator(".big")
    async with (
        client(gateway, sub="eve") as session,
        session.post("/v1/chat/completions", json=asked("demo-stall")) as response,
    ):
        await response.content.readany()
        await expect(tile).to_have_text("1")
    await expect(tile).to_have_text("0")


async def test_the_last_hour_is_plotted_and_broken_down(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="ann", org="acme") as session:
        await chat(session)
        opened = await open_page(gateway, "/")
        page = opened.page
        await expect(page.locator(".plot canvas")).to_have_count(4)
        await page.get_by_role("link", name="Tenant").click()
        await expect(page).to_have_url(opened.origin + "/?by=tenants")
        row = page.get_by_role("region", name="By tenant").get_by_role("row", name="acme")

        async def ask_on() -> None:
            while True:
                await chat(session)
                await asyncio.sleep(0.2)

        asking = asyncio.create_task(ask_on())
        await expect(row).to_be_visible()
        asking.cancel()
    await page.go_back()
    await expect(page.get_by_role("link", name="Route")).to_have_attribute("aria-current", "true")


async def test_an_endpoint_is_drained_and_let_in_by_its_button(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/upstreams")
    page = opened.page
    one = page.get_by_role("row", name="http://127.0.0.1:9 ")
    await one.get_by_role("button").click()
    await expect(one).to_contain_text("draining")
    await expect(one).to_contain_text("drained by an operator")
    # The other is now the last: draining it has to be meant.
    other = page.get_by_role("row", name="http://127.0.0.1:10 ")
    await other.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("nothing of pair is left")
    await dialog.get_by_role("button", name="Keep it").click()
    await expect(other).to_contain_text("healthy")
    await one.get_by_role("button", name="Let in").click()
    await expect(one).to_contain_text("healthy")


async def test_who_is_limited_now_and_what_is_left_of_a_budget(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="greedy", org="globex") as session:
        await chat(session)
        for _ in range(3):
            async with session.post("/v1/embeddings", json={"model": "x", "input": ""}) as answer:
                await answer.read()
        assert answer.status == 429
    opened = await open_page(gateway, "/limits?find=greedy")
    key = opened.page.get_by_role("region", name="Keys").get_by_role("row", name="once")
    await expect(key).to_contain_text("none")
    await expect(key).to_contain_text("subject corp/greedy")
    refusals = opened.page.get_by_role("region", name="Refusals").get_by_role("row", name="once")
    await expect(refusals).to_have_count(2)
    await opened.page.get_by_label("Limit or key").fill("globex")
    await expect(opened.page).to_have_url(opened.origin + "/limits?find=globex")
    budget = opened.page.get_by_role("region", name="Keys").get_by_role("row", name="monthly")
    await expect(budget).to_contain_text("of 50.00 USD")


async def test_a_request_is_found_by_filters_and_opened_by_keys(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="ann", org="acme") as session:
        await chat(session)
        broken = await chat(session, "demo-reset")
    opened = await open_page(gateway, "/requests")
    page = opened.page
    kept = page.get_by_role("region", name="Kept requests")
    await page.get_by_label("Model").select_option("demo-reset")
    await expect(page).to_have_url(opened.origin + "/requests?model=demo-reset")
    await expect(kept.get_by_role("link").first).to_have_text("demo-reset")
    assert set(await kept.get_by_role("link").all_inner_texts()) == {"demo-reset"}
    await page.keyboard.press("/")
    await expect(page.get_by_label("Trace or request id")).to_be_focused()
    await page.keyboard.type(broken[:12])
    await expect(kept.get_by_role("link")).to_have_count(1)
    await page.keyboard.press("Escape")
    await page.keyboard.press("j")
    await expect(kept.get_by_role("link")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page).to_have_url(f"{opened.origin}/requests/{broken}")
    await expect(page.locator(".waterfall .span-name")).to_have_text(
        ["■ POST /v1/", "auth", "limits", "■ chat demo-reset", "■ stream"]
    )
    timeline = page.locator(".timeline svg")
    await expect(timeline).to_have_attribute("aria-label", re.compile("ended by upstream reset"))
    await expect(page.get_by_role("link", name="Open in Jaeger")).to_have_attribute(
        "href", re.compile("^http://jaeger.test/trace/[0-9a-f]{32}$")
    )
    await expect(page.get_by_role("region", name="Log lines")).to_contain_text(
        "error=upstream_reset"
    )
    await page.keyboard.press("Escape")
    await expect(page).to_have_url(f"{opened.origin}/requests?model=demo-reset&id={broken[:12]}")
