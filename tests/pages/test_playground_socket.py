"""The playground over a bridge, in Chromium."""

from __future__ import annotations

import json
import re

import pytest
from playwright.async_api import Page, expect

from tests.support.browser import OpenPage
from tests.support.gateway import GatewayProcess
from tests.support.tokens import bearer
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio(loop_scope="session")


def address(**claims: str) -> str:
    """The page's, with a caller's token."""
    return f"/play#token={bearer(**claims).rpartition(' ')[2]}"


def delta(text: str) -> bytes:
    """An event of an answer."""
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


async def ask(page: Page) -> None:
    """Send the question over the bridge."""
    await page.locator("[name=over]").select_option("socket")
    await page.get_by_role("button", name="Send").click()


async def test_an_answer_comes_over_a_socket_through_a_disconnect(
    gateway: GatewayProcess, stepped: ScriptedUpstream, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address(sub="socketeer"))
    page = opened.page
    opened.expected = ("Failed to load resource",)  # it lists no models
    text, state = page.get_by_role("log"), page.locator("main").get_by_role("status")
    asked = len(stepped.requests)
    await page.locator("[name=route]").select_option("stepped")
    await ask(page)
    await stepped.release(delta("one"))
    await expect(text).to_have_text("one")
    await page.get_by_role("button", name="Disconnect").click()
    await expect(state).to_contain_text("disconnected")
    await stepped.release(delta(" two"))  # while nobody reads
    await page.get_by_role("button", name="Resume").click()
    await expect(text).to_have_text("one two")
    await stepped.release(delta(" three") + b"data: [DONE]\n\n")
    await stepped.finish()
    await expect(state).to_contain_text("complete")
    await expect(text).to_have_text("one two three")
    await page.get_by_text("Events as they came").click()
    await expect(page.locator(".raw pre")).to_contain_text(re.compile(r"id [0-9a-f]{34}\.3"))
    assert len(stepped.requests) == asked + 1
    assert stepped.requests[-1].value("cookie") is None
    line = await gateway.log.wait_for(
        lambda line: line.get("subject") == "socketeer" and line.get("method") == "POST"
    )
    assert "bridge" in line
    assert line["route"] == "stepped"
    assert await opened.axe() == []


async def test_stop_cancels(gateway: GatewayProcess, open_page: OpenPage) -> None:
    opened = await open_page(gateway, address(sub="canceller"))
    page = opened.page
    await page.get_by_label("Model").select_option("demo-stall")
    await ask(page)
    await expect(page.locator("main").get_by_role("status")).to_contain_text("streaming")
    await page.keyboard.press("Escape")
    await expect(page.locator("main").get_by_role("status")).to_contain_text("stopped")
    line = await gateway.log.wait_for(
        lambda line: line.get("subject") == "canceller" and line.get("model") == "demo-stall"
    )
    assert (line["end"], line["error"]) == ("client_abort", "stream_cancelled")
    assert "bridge" in line


async def test_a_socket_that_is_refused_says_so(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/play")
    await ask(opened.page)
    await expect(opened.page.get_by_role("alert")).to_contain_text("401")
