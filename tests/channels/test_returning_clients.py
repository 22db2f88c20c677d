"""Clients of channels that return by themselves: EventSource and `/client.js` in Chromium, and the
example in Python.
"""

from __future__ import annotations

import httpx
import pytest
from playwright.async_api import Browser, Page

from examples import gateway_client
from tests.channels.clients import config, publish
from tests.support.gateway import RunningGateway
from tests.support.tokens import SECRET, SECRET_VARIABLE, bearer

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = """async (token) => {
  const { stream } = await import("/client.js");
  Math.random = () => 0;  // no jitter
  const path = "/v1/channels/news";
  window.met = { source: [], client: [], opened: 0, states: [] };
  const source = new EventSource(path);
  source.onopen = () => (met.opened += 1);
  source.onmessage = (event) => met.source.push(event.data);
  const options = { headers: { Authorization: token }, onState: (state) => met.states.push(state) };
  (async () => {
    for await (const event of stream(path, options))
      if (event.type === "message") met.client.push(event.data);
  })();
}"""


async def met(page: Page, count: int) -> list[list[str]]:
    """Return what both clients have met, once it is so much."""
    await page.wait_for_function(
        "(count) => met.source.length >= count && met.client.length >= count", arg=count
    )
    found: list[list[str]] = await page.evaluate("[met.source, met.client]")
    return found


async def both_open(page: Page, times: int) -> None:
    """Wait until both clients have connected so often."""
    await page.wait_for_function(
        "(times) => met.opened >= times && met.states.filter((s) => s === 'open').length >= times",
        arg=times,
    )


async def test_the_client_in_python_returns_too(environment: None) -> None:
    document = config()
    document["routes"][0]["retry"] = "1ms"
    gateway = RunningGateway(document, {})
    await gateway.start()
    headers = {"Authorization": bearer().partition(": ")[2]}
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
        events = gateway_client.stream(http, "/v1/channels/news", headers=headers)
        try:
            assert (await anext(events)).type == "gateway.open"
            cut(gateway)
            await publish(gateway, "news", '{"error": "is data here"}')
            met = [await anext(events) for _ in range(2)]
            assert met[0].type == "gateway.open"
            assert met[1].data == '{"error": "is data here"}'
        finally:
            await events.aclose()
            await gateway.stop()


def cut(gateway: RunningGateway) -> None:
    """Close the connections of all followers."""
    for connection in [*gateway.server.listener.connections]:
        if connection.transport is not None:
            connection.transport.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)


async def test_pages_return_to_a_channel_and_lose_nothing(
    chromium: Browser, environment: None
) -> None:
    document = config(public=True, per_tenant=False)
    document["routes"][0]["retry"] = "200ms"
    gateway = RunningGateway(document, {"server": {"client_js": True}})
    await gateway.start()
    page = await chromium.new_page()
    await page.route(
        "**/page",
        lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"),
    )
    try:
        await page.goto(f"{gateway.url}/page")
        await page.evaluate(PAGE, bearer().partition(": ")[2])
        await both_open(page, 1)
        cut(gateway)  # before any event: the position is known all the same
        await publish(gateway, "news", "one")
        await both_open(page, 2)
        await publish(gateway, "news", '{"error": "is data here"}')
        assert await met(page, 2) == 2 * [["one", '{"error": "is data here"}']]
        cut(gateway)
        await publish(gateway, "news", "three")
        await both_open(page, 3)
        await publish(gateway, "news", "four")
        assert [texts[2:] for texts in await met(page, 4)] == 2 * [["three", "four"]]
    finally:
        await page.close()
        await gateway.stop()
