"""A request's page in Chromium: what happened, whose fault it is, what to do."""

from __future__ import annotations

import aiohttp
import pytest
from playwright.async_api import expect

from tests.pages.conftest import ADMIN_TOKEN
from tests.support.browser import OpenPage
from tests.support.gateway import GatewayProcess

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_request_that_was_not_kept_says_by_its_log_line_what_happened(
    closed_gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with (
        aiohttp.ClientSession(f"http://127.0.0.1:{closed_gateway.port}") as session,
        session.get("/v1/nothing-here") as response,
    ):
        assert response.status == 404
        identity = response.headers["X-Request-ID"]
    opened = await open_page(closed_gateway, f"/requests/{identity}")
    opened.expected = ("Failed to load resource",)
    page = opened.page
    await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
    await page.get_by_label("Admin token").press("Enter")
    verdict = page.get_by_role("region", name="What happened")
    await expect(verdict).to_contain_text("Backend 'main' answered with status 404")
    await expect(page.get_by_role("table", name="Log line request")).to_contain_text("404")
    await expect(page.get_by_role("heading", name="GET /v1/nothing-here")).to_be_visible()
    assert await opened.axe() == []
