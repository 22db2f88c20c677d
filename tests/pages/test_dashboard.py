"""The dashboard, walked in Chromium while requests come in."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support.browser import OpenPage, Screen
from tests.support.client import RawClient, request
from tests.support.exchange import read_stream
from tests.support.gateway import GatewayProcess
from tests.support.pages import asked, chat, client, kept, wide
from tests.support.tokens import bearer
from tests.support.waiting import PATIENCE_S, asked_until

pytestmark = pytest.mark.asyncio(loop_scope="session")
VIEWS = ("now", "requests", "upstreams", "limits", "usage", "keys", "teams", "config", "play")


HAS_LINES = """() => {
  const canvas = document.querySelector(".plot canvas");
  if (!canvas) return false;
  const edge = getComputedStyle(document.querySelector(".card")).borderTopColor;
  const wanted = [...edge.match(/[0-9]+/g).map(Number), 255];
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < data.length; at += 4)
    if (wanted.every((part, index) => data[at + index] === part)) return true;
  return false;
}"""
"""Whether a plot has lines in the colour that edges have."""


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


async def test_each_tab_is_titled_by_what_it_shows(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/limits")
    for path, title in (
        ("/", "Now"),
        ("/requests", "Requests"),
        ("/usage?by=subject", "Usage by user"),
        ("/keys", "API keys"),
        ("/teams", "Teams"),
        ("/teams?of=user", "Users"),
        ("/config", "Configuration"),
        ("/play", "Playground"),
    ):
        await opened.page.goto(opened.origin + path)
        await expect(opened.page).to_have_title(f"{title} · Gateway")


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
    await page.locator("[name=model]").select_option("demo-reset")
    await expect(page).to_have_url(opened.origin + "/requests?model=demo-reset")
    await opened.settled()
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
        ["■ POST /v1/chat/completions", "auth", "limits", "■ chat demo-reset", "■ stream"]
    )
    verdict = page.get_by_role("region", name="What happened")
    await expect(verdict).to_contain_text("Backend 'demo' closed the connection")
    await expect(verdict).to_contain_text("the backend's fault")
    await expect(verdict).to_contain_text("What to do:")
    timeline = page.locator(".timeline svg")
    await expect(timeline).to_have_attribute("aria-label", re.compile("ended by upstream reset"))
    await expect(page.get_by_role("link", name="Open in Jaeger")).to_have_attribute(
        "href", re.compile("^http://jaeger.test/trace/[0-9a-f]{32}$")
    )
    line = page.get_by_role("table", name="Log line request")
    await expect(line.get_by_role("row", name="error ")).to_contain_text("upstream_reset")
    await page.keyboard.press("Escape")
    await expect(page).to_have_url(f"{opened.origin}/requests?model=demo-reset&id={broken[:12]}")


async def test_what_is_new_appears_by_itself_unless_one_is_reading(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/requests?tenant=newcomers")
    page = opened.page
    await expect(page.get_by_text("No kept request fits the filters.")).to_be_visible()
    rows = page.get_by_role("region", name="Kept requests").get_by_role("link")
    async with client(gateway, sub="nina", org="newcomers") as session:
        await chat(session)
        await expect(rows).to_have_count(1)
        await page.keyboard.press("j")
        await expect(rows.first).to_be_focused()
        await chat(session)
        newer = page.get_by_role("button", name="Show newer requests")
        await expect(newer).to_be_visible()
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_be_focused()
        await newer.click()
        await expect(rows).to_have_count(2)


async def test_what_has_the_focus_keeps_it_when_something_before_it_goes(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/config")
    focused = await opened.page.evaluate(
        """async () => {
            const app = document.querySelector("script[type=module]").src;
            const { h, show } = await import(new URL("dom.js", app));
            const part = (name) => h("section", { "data-key": name }, h("button", {}, name));
            const place = h("div");
            document.body.append(place);
            show(place, part("under way"), part("pending"), part("kept"));
            place.lastChild.firstChild.focus();
            show(place, part("pending"), part("kept"));
            show(place, part("kept"));
            show(place, part("under way"), part("kept"));
            return document.activeElement.textContent;
        }"""
    )
    assert focused == "kept"


async def test_twenty_requests_are_in_sight_and_filters_take_one_row(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="mia", org="many") as session:
        await asyncio.gather(*(chat(session) for _ in range(25)))
    opened = await open_page(gateway, "/requests?tenant=many", Screen(1440, "light", 900))
    rows = opened.page.get_by_role("region", name="Kept requests").locator("tbody tr")
    await expect(rows).to_have_count(25)
    await expect(opened.page.get_by_role("region", name="Requests under way")).to_have_count(0)
    in_sight = await rows.evaluate_all(
        "rows => rows.filter((row) => row.getBoundingClientRect().bottom <= innerHeight).length"
    )
    assert in_sight >= 20
    tops = await opened.page.locator(".filters :is(input, select)").evaluate_all(
        "fields => fields.map((field) => Math.round(field.getBoundingClientRect().top))"
    )
    assert len(set(tops)) == 1


async def test_requests_are_sorted_filtered_by_time_and_caller_and_exported(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="sol", org="sorters") as session:
        for model in ("demo", "demo-reset", "demo"):
            await chat(session, model)
    opened = await open_page(gateway, "/requests?tenant=sorters&upstream=demo")
    page = opened.page
    kept = page.get_by_role("region", name="Kept requests")
    await expect(kept.get_by_role("link")).to_have_count(3)
    await page.get_by_label("Subject").fill("sol")
    await page.get_by_label("Subject").press("Enter")
    await page.get_by_label("When").select_option("1h")
    await expect(page).to_have_url(re.compile("subject=sol&last=1h$"))
    took = kept.get_by_role("columnheader", name="Took")
    await took.get_by_role("button").click()
    await expect(took).to_have_attribute("aria-sort", "descending")
    await took.get_by_role("button").click()
    await expect(took).to_have_attribute("aria-sort", "ascending")
    await opened.settled()
    await expect(kept.get_by_role("link").first).to_have_text("demo-reset")  # it ended early
    await page.get_by_label("Outcome").select_option("end=upstream_reset")
    await expect(kept.get_by_role("link")).to_have_count(1)
    await page.get_by_label("Outcome").select_option("error=upstream_reset")
    await expect(page).to_have_url(re.compile("error=upstream_reset$"))
    await expect(kept.get_by_role("link")).to_have_count(1)
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="JSON lines").click()
    text = Path(await (await downloading.value).path()).read_text()
    (one,) = map(json.loads, text.splitlines())
    assert (one["subject"], one["end"]) == ("sol", "upstream_reset")
    await page.get_by_label("When").select_option("between")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("From").fill("2020-01-01T00:00")
    await dialog.get_by_label("Until").fill("2020-01-02T00:00")
    assert await opened.axe() == []
    await dialog.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("No kept request fits the filters.")).to_be_visible()


async def test_the_list_stands_still_under_the_pointer(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="pia", org="pointers") as session:
        await chat(session)
        opened = await open_page(gateway, "/requests?tenant=pointers")
        page = opened.page
        rows = page.get_by_role("region", name="Kept requests").get_by_role("link")
        await expect(rows).to_have_count(1)
        await rows.first.hover()
        await expect(page.get_by_text("paused while you read")).to_be_visible()
        await chat(session)
        await expect(page.get_by_role("button", name="Show newer requests")).to_be_visible()
        await expect(rows).to_have_count(1)
        await page.mouse.move(1, 1)
        await expect(rows).to_have_count(2)


async def test_the_list_stays_paused_when_it_moves_from_under_a_resting_pointer(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="rea", org="readers") as session:
        await chat(session)
        page = (await open_page(gateway, "/requests?tenant=readers")).page
        rows = page.get_by_role("region", name="Kept requests").get_by_role("link")
        await expect(rows).to_have_count(1)
        await rows.first.hover()
        async with session.post("/v1/chat/completions", json=asked("demo-stall")) as response:
            await response.content.readany()
            await expect(page.get_by_role("region", name="Requests under way")).to_be_visible()
            under_pointer = page.locator("[aria-label='Kept requests']:hover")
            await expect(under_pointer).to_have_count(0)
            await chat(session)
            await expect(page.get_by_role("button", name="Show newer requests")).to_be_visible()
            await expect(rows).to_have_count(1)
            await page.mouse.move(1, 1)
            await expect(rows).to_have_count(2)


async def test_a_silent_stream_is_found_by_how_long_no_token_came(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/requests?tenant=waiters")
    opened.expected = ("Failed to load resource",)  # it is kept a moment after its end
    page = opened.page
    async with (
        client(gateway, sub="wim", org="waiters") as session,
        session.post("/v1/chat/completions", json=asked("demo-stall")) as response,
    ):
        await response.content.readany()
        row = page.get_by_role("region", name="Requests under way").get_by_role("row", name="wim")
        await expect(row).to_contain_text("streams")
        await page.get_by_label("No token for").fill("10m")
        await expect(page.get_by_text("No request under way fits the filters.")).to_be_visible()
        await page.get_by_label("No token for").fill("100ms")
        await expect(row).to_be_visible()
        assert await opened.axe() == []
        await row.get_by_role("link").click()
        verdict = page.get_by_role("region", name="What happened")
        await expect(verdict).to_contain_text("sends its answer")
        await expect(verdict).to_contain_text("first token after")
        await page.get_by_role("button", name="End").click()
        await page.get_by_role("button", name="End it").click()
        await expect(verdict).to_contain_text("An operator ended it after")
    await page.goto(f"{opened.origin}/requests?tenant=waiters&silent=0.1")
    ended = page.get_by_role("region", name="Kept requests").get_by_role("link")
    await expect(ended).to_have_text("demo-stall")
    silences = page.get_by_role("region", name="Kept requests").get_by_role("columnheader")
    await silences.filter(has_text="No token for").get_by_role("button").click()
    await expect(page).to_have_url(re.compile("sort=silent"))
    await page.get_by_label("No token for").fill("10m")
    await expect(page.get_by_text("No kept request fits the filters.")).to_be_visible()


async def test_a_request_is_copied_as_curl_without_its_credential(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="ann", org="acme") as session:
        last = await chat(session)
        secret = session.headers["Authorization"].split()[-1]
    await kept(gateway, last)
    opened = await open_page(gateway, f"/requests/{last}")
    page = opened.page
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy as curl")
    await button.click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f"curl -N 'http://127.0.0.1:{gateway.port}/v1/chat/completions'")
    assert '-H "Authorization: Bearer $TOKEN"' in copied
    assert '"model":"demo"' in copied
    assert secret not in copied
    log = page.get_by_role("table", name="Log line request")
    await log.get_by_role("button", name="Copy subject").click()
    assert await page.evaluate("navigator.clipboard.readText()") == "ann"


async def test_attempts_are_listed_with_why_each_was_made_and_how_it_failed(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with (
        client(gateway, sub="ann", org="acme") as session,
        session.post("/pair/v1/chat/completions", json=asked("x")) as response,
    ):
        identity = response.headers["X-Request-ID"]
    await kept(gateway, identity)
    opened = await open_page(gateway, f"/requests/{identity}")
    rows = opened.page.get_by_role("region", name="Attempts").locator("tbody tr")
    await expect(rows.nth(1)).to_contain_text("retry: upstream_connect_failed")
    await expect(rows.nth(1)).to_contain_text("http://127.0.0.1:")
    assert await opened.axe() == []


async def test_who_resumed_a_stream_is_a_link_away(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="ann", org="acme") as session:
        async with session.post("/v1/chat/completions", json=asked("demo")) as response:
            await response.read()
            begun, stream = response.headers["X-Request-ID"], response.headers["X-Stream-Id"]
        async with session.get(f"/v1/streams/{stream}") as response:
            await response.read()
            resumed = response.headers["X-Request-ID"]
    await kept(gateway, resumed)
    opened = await open_page(gateway, f"/requests/{resumed}")
    page = opened.page
    await page.get_by_role("link", name="began it").click()
    await expect(page).to_have_url(f"{opened.origin}/requests/{begun}")
    await page.get_by_role("link", name="resumed it").click()
    await expect(page).to_have_url(f"{opened.origin}/requests/{resumed}")


async def test_a_request_under_way_is_listed_and_ended(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/requests?tenant=slowpokes")
    page = opened.page
    async with RawClient(gateway.port) as caller:  # it loses no byte of what breaks off
        headers = [bearer(sub="sam", org="slowpokes"), "Content-Type: application/json"]
        body = json.dumps(asked("demo-stall")).encode()
        await caller.send(request("POST", "/v1/chat/completions", headers=headers, body=body))
        await caller.read_head()
        row = page.get_by_role("region", name="Requests under way").get_by_role("row", name="sam")
        await row.get_by_role("button", name="End").click()
        await page.get_by_role("button", name="End it").click()
        data, ended_well = await read_stream(caller)
        assert b'"code":"request_cancelled"' in data
        assert not ended_well
        await expect(row).to_have_count(0)


async def test_usage_is_shown_by_tenant_and_taken_home(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    async with client(gateway, sub="ann", org="spenders") as session:
        await chat(session)
    opened = await open_page(gateway, "/requests?tenant=spenders")
    page = opened.page
    await expect(page.get_by_role("region", name="Kept requests")).to_be_visible()
    await page.keyboard.press("5")
    row = page.get_by_role("region", name="Usage").get_by_role("row", name="spenders")
    await expect(row).to_contain_text("USD")
    await expect(page.locator(".days canvas")).to_be_visible()
    async with page.expect_download() as downloading:
        await page.get_by_role("link", name="CSV").click()
    text = Path(await (await downloading.value).path()).read_text()
    assert re.search(r"(?m)^spenders,USD,1,", text)
    await page.locator("[name=by]").select_option("tenant,subject")
    await expect(row).to_contain_text("ann")
    await row.get_by_role("link", name="ann").click()
    await expect(page).to_have_url(f"{opened.origin}/requests?subject=ann")
    await page.go_back()
    await page.locator("[name=by]").select_option("day,tenant,model")
    await expect(page).to_have_url(re.compile("by=day%2Ctenant%2Cmodel$"))
    await expect(row).to_contain_text("demo")


async def test_keys_lead_everywhere_and_the_theme_stays(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/upstreams")
    page = opened.page
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("dark or light")
    assert await opened.axe() == []
    await page.keyboard.press("Escape")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(ground)
    await page.keyboard.press("t")
    dark = await page.evaluate(ground)
    assert dark != light
    await page.keyboard.press("4")
    await expect(page).to_have_url(opened.origin + "/limits")
    await page.reload()
    await opened.settled()
    assert await page.evaluate(ground) == dark
    await page.go_back()
    await expect(page).to_have_url(opened.origin + "/upstreams")


@pytest.mark.parametrize("path", ["/", "/usage"])
async def test_plots_are_drawn_in_the_colours_of_the_theme(
    gateway: GatewayProcess, open_page: OpenPage, path: str
) -> None:
    async with client(gateway, sub="ann", org="acme") as session:
        await chat(session)
    opened = await open_page(gateway, path)
    page = opened.page
    canvas = page.locator(".plot canvas").first
    async with asyncio.timeout(PATIENCE_S):
        while not await canvas.count():  # what was used is written down a little later
            await page.reload()
            await opened.settled()
    # Not wait_for_function: it evaluates text in the page, which the policy forbids.
    await asked_until(lambda: page.evaluate(HAS_LINES), bool)
    await page.keyboard.press("t")
    await asked_until(lambda: page.evaluate(HAS_LINES), bool)


async def test_it_says_so_when_the_gateway_is_gone_and_goes_on_when_it_is_back(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/upstreams")
    opened.expected = ("Failed to load resource",)
    page = opened.page
    live = page.locator("#live")
    await expect(live).to_have_text("live")
    await page.context.set_offline(True)
    await page.keyboard.press("4")
    await expect(live).to_have_text("no connection")
    await page.context.set_offline(False)
    await expect(live).to_have_text("live")
