"""The page of API keys in Chromium."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from playwright.async_api import expect

from tests.support.admin import until
from tests.support.browser import OpenPage
from tests.support.gateway import GatewayProcess
from tests.support.pages import asked, wide

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _status(session: aiohttp.ClientSession, gateway: GatewayProcess, secret: str) -> int:
    """Ask with a key after a moment, and return the status."""
    await asyncio.sleep(0.02)
    async with session.post(
        f"http://127.0.0.1:{gateway.port}/v1/chat/completions",
        json=asked("demo"),
        headers={"Authorization": f"Bearer {secret}"},
    ) as response:
        await response.read()
        return response.status


async def test_a_key_is_made_shown_once_replaced_and_revoked(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/keys")
    page = opened.page
    await page.get_by_role("button", name="Create a key").click()
    await page.locator("[name=owner]").fill("kim@example.com")
    await page.locator("[name=models]").fill("demo, demo-stall")
    await page.locator("[name=expires]").fill("3d")
    assert await opened.axe() == []
    await page.get_by_role("button", name="Create", exact=True).click()
    new = page.get_by_role("region", name="New key")
    await expect(new).to_contain_text("The key for kim@example.com")
    secret = await new.locator("code").inner_text()
    row = page.get_by_role("row", name="kim@example.com")
    await expect(row).to_contain_text("demo, demo-stall")
    await expect(row).to_contain_text("not yet")
    assert await opened.axe() == []
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        while await _status(session, gateway, secret) != 200:
            pass  # a worker reads the keys twice a second
    # Its use is written down half a second later.
    await until(gateway, "/api/keys", lambda found: "'requests': 1" in str(found))
    await row.get_by_role("button", name="Replace").click()
    await page.get_by_role("button", name="Replace", exact=True).click()
    await expect(row).to_have_count(2)
    await expect(new.locator("code")).not_to_have_text(secret)
    await page.reload()
    await opened.settled()
    await expect(new).to_have_count(0)
    assert secret not in await page.content()
    old = page.get_by_role("row", name=secret.split("-")[2])
    await expect(old).not_to_contain_text("not yet")
    await old.get_by_role("button", name="Suspend").click()
    await expect(old).to_contain_text("suspended")
    await old.get_by_role("button", name="Resume").click()
    await expect(old).to_contain_text("usable")
    await old.get_by_role("button", name="Revoke").click()
    await page.get_by_role("button", name="Revoke", exact=True).click()
    await expect(old).to_contain_text("revoked")
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await wide(page) == 0
    assert await opened.axe() == []


async def test_a_key_that_cannot_be_made_says_why(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/keys")
    opened.expected = ("Failed to load resource",)
    page = opened.page
    await page.get_by_role("button", name="Create a key").click()
    await page.locator("[name=owner]").fill("kim")
    await page.locator("[name=expires]").fill("soon")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("expires: not a duration")


async def test_a_suspended_key_is_listed_with_its_own_limits(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    keys = f"http://127.0.0.1:{gateway.admin_port}/api/keys"
    order = {"owner": "sue@example.com", "allowance": {"requests": "7/minute", "concurrency": 2}}
    async with aiohttp.ClientSession() as session:
        async with session.post(keys, json=order) as response:
            made = await response.json()
            key_id = made["key"]["id"]
        async with session.post(f"{keys}/{key_id}/suspend") as response:
            assert response.status == 200, await response.text()
    page = (await open_page(gateway, "/keys")).page
    row = page.get_by_role("row", name="sue@example.com")
    await expect(row).to_contain_text("suspended")
    await expect(row).to_contain_text("7/minute requests, 2 at once")


async def test_limits_of_a_key_are_changed_and_its_budget_is_shown(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/keys")
    opened.expected = ("Failed to load resource",)
    page = opened.page
    dialog = page.get_by_role("dialog")
    await page.get_by_role("button", name="Create a key").click()
    await dialog.locator("[name=owner]").fill("lim@example.com")
    await dialog.locator("[name='allowance.budgets']").fill("5 USD/day")
    await dialog.get_by_role("button", name="Create", exact=True).click()
    row = page.get_by_role("row", name="lim@example.com")
    await expect(row).to_contain_text("0.00 USD of 5 USD/day")
    await row.get_by_role("button", name="Change").click()
    await expect(dialog.locator("[name='allowance.budgets']")).to_have_value("5 USD/day")
    await dialog.locator("[name='allowance.budgets']").fill("7 USD/day, 100 tokens/week")
    await dialog.locator("[name='allowance.concurrency']").fill("two")
    await dialog.locator("[name=tags]").fill("ci, eu")
    await dialog.get_by_role("button", name="Change").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("has to be a number")
    await dialog.locator("[name='allowance.concurrency']").fill("2")
    assert await opened.axe() == []
    await dialog.get_by_role("button", name="Change").click()
    await expect(dialog).to_have_count(0)
    await expect(row).to_contain_text("of 7 USD/day")
    await expect(row).to_contain_text("0 of 100 tokens/week")
    await expect(row).to_contain_text("2 at once")
    await expect(row).to_contain_text("ci, eu")
    assert await opened.axe() == []
    await row.get_by_role("button", name="Change").click()
    await dialog.locator("[name=expires]").fill("0s")
    await dialog.get_by_role("button", name="Change").click()
    await expect(row).to_contain_text("expired")
    await row.get_by_role("button", name="Change").click()
    await dialog.locator("[name=expires]").fill("never")
    await dialog.get_by_role("button", name="Change").click()
    await expect(row).to_contain_text("usable")
    await page.get_by_label("Key, owner, team or tag").fill("LIM@example")
    await expect(page.locator("tbody tr")).to_have_count(1)
    await page.get_by_label("State").select_option("revoked")
    await expect(page.locator("main")).to_contain_text("No key fits the filter.")
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await wide(page) == 0


async def test_a_change_from_a_stale_form_is_refused(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    keys = f"http://127.0.0.1:{gateway.admin_port}/api/keys"
    async with aiohttp.ClientSession() as session:
        async with session.post(keys, json={"owner": "two@example.com"}) as response:
            key_id = (await response.json())["key"]["id"]
        opened = await open_page(gateway, "/keys")
        opened.expected = ("Failed to load resource",)
        page = opened.page
        row = page.get_by_role("row", name="two@example.com")
        await row.get_by_role("button", name="Change").click()
        async with session.patch(f"{keys}/{key_id}", json={"tier": "gold"}) as response:
            assert response.status == 200
    dialog = page.get_by_role("dialog")
    await dialog.locator("[name=tier]").fill("silver")
    await dialog.get_by_role("button", name="Change").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("changed meanwhile")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(row).to_contain_text("gold")
