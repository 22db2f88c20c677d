"""Signing in with the admin token, in Chromium."""

from __future__ import annotations

from typing import Any, cast

import pytest
from playwright.async_api import expect

from tests.pages.conftest import ADMIN_TOKEN
from tests.support.browser import OpenPage
from tests.support.gateway import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_token_opens_the_pages_until_one_signs_out(
    closed_gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(closed_gateway, "/config")
    opened.expected = ("Failed to load resource",)  # what is refused on purpose
    page = opened.page
    await expect(page.locator("h1")).to_have_count(0)
    assert await opened.axe() == []
    await page.get_by_label("Admin token").fill("not that")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("that is not the admin token")
    await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="routes")).to_be_visible()

    (cookie,) = await page.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert ADMIN_TOKEN not in cookie["value"]
    stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"
    assert ADMIN_TOKEN not in await page.evaluate(stored)

    await page.get_by_role("button", name="Read the file again").click()
    await expect(page.get_by_text("read again at")).to_be_visible()

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Admin token")).to_be_visible()
    # A session that has ended is none, whoever kept it.
    await page.context.add_cookies([cast(Any, cookie)])
    await page.reload()
    await expect(page.get_by_label("Admin token")).to_be_visible()


async def test_a_session_that_ends_meanwhile_asks_for_the_token_again(
    closed_gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(closed_gateway, "/upstreams")
    opened.expected = ("Failed to load resource",)
    page = opened.page
    await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    await page.get_by_label("Admin token").press("Enter")
    await expect(page.get_by_role("row", name="healthy")).to_be_visible()
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Drain").click()
    await page.get_by_role("button", name="Drain it").click()
    await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    await page.get_by_label("Admin token").press("Enter")
    await expect(page.get_by_role("row", name="draining")).to_be_visible()
    await page.get_by_role("button", name="Let in").click()
    await expect(page.get_by_role("row", name="healthy")).to_be_visible()
