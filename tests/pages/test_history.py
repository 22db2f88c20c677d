"""The plots of Now in Chromium: ranges, the day before, and the requests of a moment."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import OpenPage, Screen
from tests.support.gateway import GatewayProcess
from tests.support.pages import chat, client, wide
from tests.support.waiting import asked_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def plotted(page: Page) -> None:
    """Wait until the plots have points."""
    await expect(page.locator(".plot canvas")).to_have_count(4)


async def test_a_range_is_chosen_and_compared_with_yesterday(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/?by=models")
    page = opened.page
    await plotted(page)
    await page.get_by_role("link", name="7 days").click()
    await expect(page).to_have_url(f"{opened.origin}/?by=models&range=7d")
    await plotted(page)
    chart = page.get_by_role("img", name=re.compile("Requests a second, the last 7 days"))
    await expect(chart).to_be_visible()
    await page.get_by_label("Compare with yesterday").check()
    await expect(page).to_have_url(re.compile("compare=yesterday$"))
    await expect(page.locator(".plot").first).to_contain_text("all yesterday")
    await page.get_by_role("link", name="5 min", exact=True).click()
    await plotted(page)
    assert await opened.axe() == []
    await page.set_viewport_size({"width": 390, "height": 800})
    # The plots take the new width when the browser reports it.
    await asked_until(lambda: wide(page), lambda pixels: pixels == 0)


async def test_a_click_on_a_plot_leads_to_the_requests_of_that_time(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="ann", org="acme") as session:
        await chat(session)
    opened = await open_page(gateway, "/?range=15m")
    page = opened.page
    await plotted(page)
    plot = page.locator(".plot").nth(2)
    await plot.scroll_into_view_if_needed()
    box = await plot.locator(".u-over").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] - 4, box["y"] + 40)
    await expect(plot.get_by_role("link")).to_contain_text(re.compile(r"Requests at \d\d:\d\d"))
    await page.mouse.click(box["x"] + box["width"] - 4, box["y"] + 40)
    found = re.compile(r"/requests\?since=\d{4}-[^&]+Z&until=\d{4}-[^&]+Z&sort=ttft$")
    await expect(page).to_have_url(found)
    await page.go_back()
    await plotted(page)


async def test_the_arrow_keys_lead_to_a_moment_too(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/", Screen(390, "dark"))
    page = opened.page
    await plotted(page)
    link = page.locator(".plot").first.get_by_role("link")
    await expect(link).to_have_text("Requests")

    async def moved() -> str:
        await link.press("ArrowLeft")
        return await link.text_content() or ""

    await asked_until(moved, re.compile(r"Requests at \d\d:\d\d").search)
    await link.press("Enter")
    await expect(page).to_have_url(re.compile(r"/requests\?since=.*&until="))
