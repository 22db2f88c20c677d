"""The playground, in Chromium: a question, and how its answer comes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.admin import told, until
from tests.support.browser import OpenPage
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.tokens import bearer
from tests.support.upstream import Request, ScriptedUpstream, raw_reply, reply

pytestmark = pytest.mark.asyncio(loop_scope="session")


def address(**claims: str) -> str:
    """The page's, with a caller's token."""
    return f"/play#token={bearer(sub='player', **claims).rpartition(' ')[2]}"


def delta(text: str) -> bytes:
    """An event of an answer."""
    return b"data: " + json.dumps({"choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


async def figure(page: Page, name: str) -> str:
    """One of the numbers above the answer."""
    exact = page.locator("dt", has_text=re.compile(f"^{re.escape(name)}$"))
    return await page.locator(".figures div").filter(has=exact).locator("dd").inner_text()


async def test_an_answer_streams_with_its_figures(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    assert "token" not in page.url  # nor in the history, nor in a screenshot
    await expect(page.get_by_label("Model")).to_have_value("demo")
    await page.locator("[name=prompt]").fill("Why?")
    await page.locator("[name=prompt]").press("Control+Enter")
    await expect(page.locator("main").get_by_role("status")).to_contain_text("complete")
    await expect(page.get_by_role("log")).to_contain_text(re.compile(r"\w+ \w+"))
    assert (await figure(page, "First token")).endswith("s")
    assert float(await figure(page, "Tokens/s")) > 0
    assert int(await figure(page, "Tokens")) > 5
    await page.get_by_text("Events as they came").click()
    await expect(page.locator(".raw pre")).to_contain_text('"delta":{"content":')
    assert await opened.axe() == []


async def test_stop_stops_the_model(gateway: GatewayProcess, open_page: OpenPage) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    await page.get_by_label("Model").select_option("demo-stall")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("main").get_by_role("status")).to_contain_text("streaming")
    await page.keyboard.press("Escape")
    await expect(page.locator("main").get_by_role("status")).to_contain_text("stopped")
    line = await gateway.log.wait_for(
        lambda line: line.get("subject") == "player" and line.get("model") == "demo-stall"
    )
    assert line["end"] in ("cancelled", "client_abort")


async def test_stop_while_the_answer_begins_leaves_nothing_running(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address(org="hasty"))
    page = opened.page
    await page.get_by_label("Model").select_option("demo-stall")
    for _ in range(5):
        await page.get_by_role("button", name="Send").click()
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator("main").get_by_role("status")).to_contain_text("stopped")
        await until(
            gateway,
            "/api/requests",
            lambda found: all(one["tenant"] != "hasty" for one in found["requests"]),
        )


async def test_stop_before_the_first_token_is_seen_by_the_gateway_too(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    await page.get_by_label("Model").select_option("demo-hang")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator("main").get_by_role("status")).to_contain_text("waiting")
    await page.get_by_role("button", name="Stop").click()
    await gateway.log.wait_for(
        lambda line: line.get("model") == "demo-hang" and line.get("end") == "client_abort"
    )


async def test_disconnecting_and_resuming_misses_nothing(
    gateway: GatewayProcess, stepped: ScriptedUpstream, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    opened.expected = ("Failed to load resource",)  # it lists no models
    text, state = page.get_by_role("log"), page.locator("main").get_by_role("status")
    await page.locator("[name=route]").select_option("stepped")
    await page.get_by_role("button", name="Send").click()
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
    assert (await figure(page, "Resumed")).startswith("1 ")
    assert stepped.requests[-1].value("cookie") is None


async def test_an_answer_that_breaks_off_says_so(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address())
    opened.expected = ("Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING",)
    page = opened.page
    await page.get_by_label("Model").select_option("demo-reset")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert")).to_contain_text("upstream_reset")
    await expect(page.locator("main").get_by_role("status")).to_contain_text("failed")


async def test_without_a_token_the_gateway_refuses_as_it_refuses_anybody(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/play")
    opened.expected = ("Failed to load resource",)
    await opened.page.get_by_role("button", name="Send").click()
    await expect(opened.page.get_by_role("alert")).to_contain_text("401")


HOSTILE = b"""<!doctype html><title>idle</title><script>
document.title = "ran";
async function attack(admin) {
  const image = new Image();
  image.src = `${admin}/api/config`;
  const script = document.createElement("script");
  script.src = `${admin}/play/api/v1/x.js`;
  document.body.append(image, script);
  const tries = [
    fetch(`${admin}/api/config`),
    fetch(`${admin}/api/config`, {mode: "no-cors"}),
    fetch(`${admin}/play/api/v1/x`, {mode: "no-cors", method: "POST", body: "{}"}),
    fetch(`${admin}/api/reload`, {mode: "no-cors", method: "POST"}),
  ];
  return (await Promise.allSettled(tries)).map((one) => one.status);
}
</script><body>"""


def hostile(request: Request) -> bytes:
    """A page, or a script, that asks for all that a browser would give it."""
    kind = "text/javascript" if request.target.endswith(".js") else "text/html"
    body = b"window.stolen = 1;" if kind == "text/javascript" else HOSTILE
    allowed = ("Service-Worker-Allowed: /", "Set-Cookie: planted=1; Path=/")
    return reply(body, content_type=kind, headers=allowed)


def _asked(upstream: ScriptedUpstream) -> int:
    """Number of requests, without that for an icon, which the browser makes when it likes."""
    return sum(seen.target != "/favicon.ico" for seen in upstream.requests)


async def test_a_backends_page_and_a_neighbours_get_nothing_of_the_admin_origin(
    chromium: Browser, tmp_path: Path, fork_server: ForkServer
) -> None:
    """The backend's script neither runs here, nor becomes a worker, nor asks from elsewhere."""
    async with ScriptedUpstream(raw_reply(hostile)) as upstream:
        gateway = GatewayProcess(
            simple_config(upstream.url), {}, tmp_path / "gateway.yaml", fork_server=fork_server
        )
        await gateway.start()
        context = await chromium.new_context()
        try:
            origin = f"http://127.0.0.1:{gateway.admin_port}"
            page = await context.new_page()
            opened = await page.goto(f"{origin}/play/api/v1/page")
            assert opened is not None
            assert opened.status == 403
            assert await page.title() != "ran"
            await page.goto(f"{origin}/play")
            worker = await page.evaluate(
                "navigator.serviceWorker.register('/play/api/v1/x.js', {scope: '/'})"
                ".then(() => 'registered', (error) => error.name)"
            )
            assert worker != "registered"
            body = await page.evaluate("fetch('/play/api/v1/x').then((got) => got.text())")
            assert "document.title" in body  # as data, for its own page
            assert await context.cookies() == []
            # Another port of this host is the same site, and another origin.
            await page.goto(upstream.url)
            assert await page.title() == "ran"
            before = _asked(upstream)
            tried = await page.evaluate(f"attack({json.dumps(origin)})")
            assert tried == ["rejected"] * 4
            assert _asked(upstream) == before
            assert await page.evaluate("window.stolen") is None
            assert (await told(gateway, "/api/config"))["last_reload"] is None
        finally:
            await context.close()
            await gateway.stop()
