"""The page of teams and users in Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.support.admin import until
from tests.support.browser import OpenPage, Screen
from tests.support.gateway import GatewayProcess
from tests.support.pages import asked, wide
from tests.support.waiting import asked_until

pytestmark = pytest.mark.asyncio(loop_scope="session")
HOSTILE = "<img src=x onerror=alert(1)>\n=cmd é̀ \u202e/../?#%"
"""Name of a user: markup, a line break, a formula, combining and direction characters, a path."""


@pytest_asyncio.fixture(loop_scope="session")
async def api(gateway: GatewayProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.admin_port}") as session:
        yield session


async def put(api: aiohttp.ClientSession, path: str, settings: Any) -> dict[str, Any]:
    async with api.put(path, json=settings) as response:
        assert response.status == 200, await response.text()
        document: dict[str, Any] = await response.json()
        return document


async def key_of(api: aiohttp.ClientSession, **order: Any) -> dict[str, Any]:
    async with api.post("/api/keys", json=order) as response:
        assert response.status == 200, await response.text()
        document: dict[str, Any] = await response.json()
        return document


async def test_a_team_is_made_changed_suspended_and_deleted(
    gateway: GatewayProcess, api: aiohttp.ClientSession, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/teams")
    opened.expected = ("Failed to load resource",)
    page = opened.page
    await page.get_by_role("button", name="Create a team").click()
    dialog = page.get_by_role("dialog")
    await dialog.locator("[name=name]").fill("research")
    await dialog.locator("[name=models]").fill("demo")
    await dialog.locator("[name='limits.requests']").fill("many")
    await dialog.locator("[name='limits.budgets']").fill("500 USD/month, 90000 tokens/day")
    await dialog.locator("[name='per_user.concurrency']").fill("4")
    assert await opened.axe() == []
    await dialog.get_by_role("button", name="Create").click()
    # The form stays, with what was typed, and says which field is wrong.
    await expect(dialog.get_by_role("alert")).to_contain_text("limits.requests: not a rate")
    await expect(dialog.locator("[name='limits.requests']")).to_be_focused()
    assert await opened.axe() == []
    await dialog.locator("[name='limits.requests']").fill("60/minute")
    await dialog.get_by_role("button", name="Create").click()
    row = page.get_by_role("row", name="research")
    await expect(row).to_contain_text("60/minute requests")
    await expect(row).to_contain_text("each user: 4 at once")
    await expect(row).to_contain_text("0.00 USD of 500 USD/month")
    assert await opened.axe() == []
    await row.get_by_role("button", name="Change").click()
    await expect(dialog.locator("[name='per_user.concurrency']")).to_have_value("4")
    await dialog.locator("[name='limits.requests']").fill("")
    # Somebody else changes the team meanwhile: the form does not undo it.
    await put(api, "/api/teams/research", {"models": ["demo-stall"]})
    await dialog.get_by_role("button", name="Change").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("changed meanwhile")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(row).to_contain_text("demo-stall")
    await row.get_by_role("button", name="Suspend").click()
    await expect(row).to_contain_text("suspended")
    await row.get_by_role("button", name="Resume").click()
    await expect(row).to_contain_text("active")
    await page.get_by_role("button", name="Create a team").click()
    await dialog.locator("[name=name]").fill("research")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("one of this name already")
    await page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)
    await row.get_by_role("button", name="Delete").click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(row).to_have_count(0)


async def test_members_are_shown_with_their_use_and_budgets(
    gateway: GatewayProcess, api: aiohttp.ClientSession, open_page: OpenPage
) -> None:
    budgets = {"budgets": ["1000 tokens/day"], "warn_at": 0.5}
    await put(api, "/api/teams/crew", {"limits": budgets, "per_user": budgets})
    ann = await key_of(api, owner="ann@crew", team="crew")
    await key_of(api, owner=HOSTILE, team="crew")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{gateway.port}") as session:
        headers = {"Authorization": f"Bearer {ann['secret']}"}
        question = {**asked("demo"), "stream": False}

        async def chat() -> int:
            path = "/v1/chat/completions"
            async with session.post(path, json=question, headers=headers) as response:
                await response.read()
                return response.status

        await asked_until(chat, lambda status: status == 200)
    await until(gateway, "/api/teams/crew/members", lambda found: "'requests': 1" in str(found))
    opened = await open_page(gateway, "/teams?team=crew")
    page = opened.page
    row = page.get_by_role("row", name="ann@crew")
    await expect(row).to_contain_text("of 1000 tokens/day")
    await expect(row.get_by_role("link", name="1", exact=True)).to_be_visible()
    hostile = page.get_by_role("row", name="<img src=x onerror=alert(1)>")
    await expect(hostile).to_contain_text("\\u000a=cmd")
    await expect(hostile).to_contain_text("\\u202e")
    await expect(page.locator("main img")).to_have_count(0)
    assert await opened.axe() == []
    await hostile.get_by_role("button", name="Suspend").click()
    await expect(hostile).to_contain_text("suspended")
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await wide(page) == 0
    assert await opened.axe() == []
    await page.goto(f"{opened.origin}/teams?of=user")
    await opened.settled()
    user = page.get_by_role("row", name="<img src=x onerror=alert(1)>")
    await expect(user).to_contain_text("suspended")
    assert await wide(page) == 0
    await user.get_by_role("button", name="Resume").click()
    await expect(user).to_contain_text("active")
    await user.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(user).to_have_count(0)


async def test_teams_are_found_by_name_and_paged_with_the_keyboard(
    gateway: GatewayProcess, api: aiohttp.ClientSession, open_page: OpenPage
) -> None:
    for number in range(120):
        await put(api, f"/api/teams/many-{number:03}", {})
    opened = await open_page(gateway, "/teams", Screen(scheme="dark"))
    page = opened.page
    await page.keyboard.press("/")
    await page.keyboard.type("MANY-")
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(100)
    await expect(rows.first).to_contain_text("many-000")
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Next page").focus()
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(20)
    await expect(rows.last).to_contain_text("many-119")
    await page.go_back()
    await expect(rows).to_have_count(100)
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="many-000")).to_be_visible()
    assert await opened.axe() == []
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("heading", name="Teams")).to_be_visible()
    await page.goto(f"{opened.origin}/teams?team=nobody")
    await expect(page.locator("main")).to_contain_text("There is no team of this name.")
