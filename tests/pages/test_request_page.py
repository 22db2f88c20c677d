"""A request's page in Chromium: what happened, whose fault it is, what to do."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from gateway.demo import DemoBackend
from tests.pages.conftest import ADMIN_TOKEN
from tests.support.browser import OpenPage, Screen
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.pages import asked, client, kept, wide

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


@pytest.mark.parametrize("screen", [Screen(1440, "light", 900), Screen(390, "dark")], ids=str)
async def test_a_refused_request_says_what_happened_in_the_list_and_on_its_page(
    gateway: GatewayProcess, open_page: OpenPage, screen: Screen
) -> None:
    async with client(gateway, sub="kim", org="refused") as session:
        for _ in range(2):
            async with session.post("/v1/embeddings", json={"model": "x", "input": ""}) as answer:
                identity = answer.headers["X-Request-ID"]
    await kept(gateway, identity)
    opened = await open_page(gateway, "/requests?tenant=refused&error=rate_limit_exceeded", screen)
    page = opened.page
    row = page.get_by_role("region", name="Kept requests").locator("tbody tr").first
    said = row.get_by_text("Limit 'once' refused it; wait")
    await expect(said).to_be_visible(visible=screen.width > 720)
    assert await opened.axe() == []
    assert await wide(page) == 0
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    verdict = page.get_by_role("region", name="What happened")
    await expect(verdict).to_contain_text("Limit 'once' refused it; wait")
    await expect(verdict).to_contain_text("the client's fault")
    await expect(verdict).to_contain_text("raise limits.once")
    await expect(page).to_have_title("429 /v1/embeddings · Gateway")
    assert await opened.axe() == []
    assert await wide(page) == 0
    await page.get_by_role("link", name="once").click()
    await expect(page).to_have_url(f"{opened.origin}/limits?find=once")


async def test_the_buttons_of_requests_under_way_are_in_sight_on_a_phone(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/requests?tenant=phones", Screen(390, "light"))
    async with (
        client(gateway, sub="pat", org="phones") as session,
        session.post("/v1/chat/completions", json=asked("demo-stall")) as response,
    ):
        await response.content.readany()
        button = opened.page.get_by_role("button", name="End")
        await button.wait_for()
        box = await button.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390


async def test_a_reader_under_way_and_the_request_that_began_its_stream_lead_to_each_other(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with (
        client(gateway, sub="lea", org="readers") as session,
        session.post("/v1/chat/completions", json=asked("demo-stall")) as begun,
    ):
        await begun.content.readany()
        first, stream = begun.headers["X-Request-ID"], begun.headers["X-Stream-Id"]
        async with session.get(f"/v1/streams/{stream}") as resumed:
            await resumed.content.readany()
            second = resumed.headers["X-Request-ID"]
            opened = await open_page(gateway, "/requests?tenant=readers")
            page = opened.page
            await page.locator(f"a[href='/requests/{second}']").click()
            await page.get_by_role("link", name="began it").click()
            await expect(page).to_have_url(f"{opened.origin}/requests/{first}")
            await page.get_by_role("link", name="resumed it").click()
            await expect(page).to_have_url(f"{opened.origin}/requests/{second}")
            assert await opened.axe() == []


async def test_the_access_line_is_a_table_where_it_was_not_logged(
    backend: DemoBackend, open_page: OpenPage, tmp_path: Path, fork_server: ForkServer
) -> None:
    telemetry = {"log": {"format": "json", "sample": 0.0}, "traces": {"sample": 1.0}}
    running = GatewayProcess(
        simple_config(backend.url),
        {"telemetry": telemetry},
        tmp_path / "gateway.yaml",
        fork_server=fork_server,
    )
    await running.start()
    try:
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{running.port}") as session,
            session.get("/v1/models") as response,
        ):
            identity = response.headers["X-Request-ID"]
        await kept(running, identity)
        opened = await open_page(running, f"/requests/{identity}")
        line = opened.page.get_by_role("table", name="Log line request")
        await expect(line.get_by_role("row", name="status ")).to_contain_text("200")
        # Otherwise the page may ask again, once its gateway has stopped.
        await opened.page.goto("about:blank")
    finally:
        await running.stop()
