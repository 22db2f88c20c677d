"""Operators in Chromium: they sign in at oidc-provider from npm, and do what their role may."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from gateway.demo import DemoBackend
from tests.support.browser import Opened, OpenPage, Screen
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.node_issuer import SECRET, NodeIssuer
from tests.support.pages import wide

pytestmark = pytest.mark.asyncio(loop_scope="session")
TOKEN = "break-glass-7f3a"
PEOPLE = ("viewer", "operator", "admin")
NARROW = Screen(width=390, height=844)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def issuer() -> AsyncIterator[NodeIssuer]:
    async with NodeIssuer() as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded(
    issuer: NodeIssuer,
    backend: DemoBackend,
    tmp_path_factory: pytest.TempPathFactory,
    fork_server: ForkServer,
) -> AsyncIterator[GatewayProcess]:
    """Gateway whose operators sign in at the issuer."""
    folder = tmp_path_factory.mktemp("operators")
    sign_in = {
        "issuer": issuer.url,
        "client_id": "gateway",
        "client_secret": {"env": "OIDC_SECRET"},
        "scopes": ["openid", "email", "groups"],
        "roles": {name: [name] for name in PEOPLE},
    }
    admin = {"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}, "sign_in": sign_in}
    config = {
        **simple_config(backend.url),
        "store": {"url": f"sqlite://{folder / 'store.db'}"},
        "auth": {"keys": {"type": "api_key"}},
    }
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ADMIN_TOKEN", TOKEN)
        environment.setenv("OIDC_SECRET", SECRET)
        running = GatewayProcess(
            config, {"admin": admin}, folder / "gateway.yaml", fork_server=fork_server
        )
        await running.start()
        await issuer.serve(f"http://127.0.0.1:{running.admin_port}")
        yield running
        await running.stop()
    assert b"Traceback" not in running.errors, running.errors.decode()


async def opened_as(
    open_page: OpenPage,
    guarded: GatewayProcess,
    issuer: NodeIssuer,
    person: str,
    path: str,
    screen: Screen = Screen(),  # noqa: B008
) -> Opened:
    """Open a path, sign in as a person, and return when the path is shown."""
    opened = await open_page(guarded, path, screen)
    opened.expected = ("Failed to load resource",)  # what is refused on purpose
    opened.others = (issuer.url,)
    await opened.page.get_by_role("button", name="Sign in at localhost").click()
    await at_the_issuer(opened.page, person)
    await expect(opened.page).to_have_url(opened.origin + path)
    await opened.settled()
    return opened


async def at_the_issuer(page: Page, person: str) -> None:
    """Sign in at the page of the issuer."""
    await page.get_by_label("Name").fill(person)
    await page.get_by_role("button", name="Enter").click()


async def test_a_viewer_reads_and_finds_every_action_switched_off(
    guarded: GatewayProcess, issuer: NodeIssuer, open_page: OpenPage
) -> None:
    opened = await opened_as(open_page, guarded, issuer, "viewer", "/upstreams?x=1")
    page = opened.page
    await expect(page.locator("#who")).to_have_text("viewer@example.com viewer")
    drain = page.get_by_role("button", name=re.compile("Drain"))
    await expect(drain).to_be_disabled()
    await expect(drain).to_have_attribute("title", "Needs the role operator")
    names = await page.locator("#nav a").all_inner_texts()
    assert "Audit" not in names
    assert "Playground" not in names
    await page.goto(f"{opened.origin}/keys")
    await expect(page.get_by_role("button", name="Create a key")).to_be_disabled()
    await page.goto(f"{opened.origin}/audit")
    await expect(page.get_by_text("It needs the role admin; yours is viewer.")).to_be_visible()
    assert await opened.axe() == []
    (cookie,) = [one for one in await page.context.cookies() if "gateway_session" in str(one)]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    # Nothing but the check of the gateway counts.
    sent = "fetch('/api/reload', {method: 'POST'}).then((response) => response.status)"
    assert await page.evaluate(sent) == 403


async def test_an_admin_reads_in_the_audit_log_what_others_did_and_ends_their_sessions(
    guarded: GatewayProcess, issuer: NodeIssuer, open_page: OpenPage
) -> None:
    other = await opened_as(open_page, guarded, issuer, "operator", "/config")
    await other.page.get_by_role("button", name="Read the file again").click()
    await expect(other.page.get_by_text("read again at")).to_be_visible()
    await other.page.keyboard.press("6")
    await expect(other.page.get_by_role("button", name="Create a key")).to_be_disabled()
    opened = await opened_as(open_page, guarded, issuer, "admin", "/audit")
    page = opened.page
    log = page.get_by_role("region", name="Audit log")
    reload = log.get_by_role("row", name=re.compile("config reloaded"))
    await expect(reload.first).to_contain_text("operator@example.com")
    assert await opened.axe() == []
    await page.keyboard.press("/")
    await page.keyboard.type("admin@")
    await expect(page).to_have_url(f"{opened.origin}/audit?who=admin%40")
    await expect(reload).to_have_count(0)
    await expect(log.get_by_role("row", name=re.compile("signed in")).first).to_be_visible()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="CSV").click()
    assert (await download.value).suggested_filename == "audit.csv"
    await page.set_viewport_size({"width": 390, "height": 844})
    assert await wide(page) == 0
    assert await opened.axe() == []
    await page.locator("#main").focus()
    await page.keyboard.press("j")
    await expect(page.locator("[data-row]:focus")).to_have_count(1)
    ends = page.get_by_role("button", name="End the session of operator@example.com")
    before = await ends.count()
    await ends.first.click()  # the newest
    await page.get_by_role("button", name="End it").click()
    await expect(ends).to_have_count(before - 1)
    await other.page.reload()
    await expect(other.page.get_by_role("button", name="Sign in at localhost")).to_be_visible()


async def test_who_signs_out_is_out_at_the_issuer_too(
    guarded: GatewayProcess, issuer: NodeIssuer, open_page: OpenPage
) -> None:
    opened = await opened_as(open_page, guarded, issuer, "viewer", "/limits")
    page = opened.page
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Yes, sign me out").click()
    await expect(page.get_by_role("button", name="Sign in at localhost")).to_be_visible()
    await page.get_by_role("button", name="Sign in at localhost").click()
    # The issuer asks who it is: another person may sit there now.
    await at_the_issuer(page, "operator")
    await expect(page.locator("#who")).to_have_text("operator@example.com operator")


async def test_a_person_without_a_role_gets_a_page_that_says_so(
    guarded: GatewayProcess, issuer: NodeIssuer, open_page: OpenPage
) -> None:
    opened = await open_page(guarded, "/", NARROW)
    opened.expected = ("Failed to load resource",)
    opened.others = (issuer.url,)
    page = opened.page
    await page.get_by_role("button", name="Sign in at localhost").click()
    await at_the_issuer(page, "stranger")
    await expect(page.get_by_role("heading", name="No role")).to_be_visible()
    assert "stranger" not in await page.content()
    assert await opened.axe() == []
    assert await wide(page) == 0
    await page.get_by_role("link", name="Sign in again").focus()
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Sign in at localhost")).to_be_visible()


async def test_a_session_that_ends_sends_back_to_where_one_was(
    guarded: GatewayProcess, issuer: NodeIssuer, open_page: OpenPage
) -> None:
    opened = await opened_as(open_page, guarded, issuer, "operator", "/upstreams?x=2", NARROW)
    page = opened.page
    assert await wide(page) == 0
    await page.context.clear_cookies(name=re.compile("gateway_session"))
    await page.get_by_role("button", name=re.compile("Drain")).click()
    await page.get_by_role("button", name="Drain it").click()
    dialog = page.get_by_role("dialog", name="Sign in")
    await expect(dialog).to_be_visible()
    assert await opened.axe() == []
    assert await wide(page) == 0
    await page.keyboard.press("Enter")  # the button has the focus; the issuer still knows who it is
    await expect(page).to_have_url(f"{opened.origin}/upstreams?x=2")
    await expect(page.get_by_role("button", name=re.compile("Drain"))).to_be_enabled()


async def test_a_token_still_opens_the_pages(guarded: GatewayProcess, open_page: OpenPage) -> None:
    opened = await open_page(guarded, "/config")
    opened.expected = ("Failed to load resource",)
    page = opened.page
    await page.get_by_text("With a token").click()
    await page.get_by_label("Admin token").fill(TOKEN)
    await page.get_by_role("button", name="Sign in with the token").click()
    await expect(page.locator("#who")).to_have_text("admin admin")
