"""`/playground/` of the public listener: behind its password, and working in Chromium."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from gateway.browser.playground import FILES
from gateway.demo import DemoBackend
from gateway.wiring.routes import shown
from tests.support.browser import AXE
from tests.support.client import request
from tests.support.exchange import ask
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.refusal import assert_error
from tests.support.tokens import CORP, SECRET, SECRET_VARIABLE, bearer

PASSWORD = "open-the-playground-7f3a"
PATIENCE_MS = 15_000


def document(url: str) -> dict[str, Any]:
    page = {"route": "main", "password": {"env": "PLAYGROUND_PASSWORD"}}
    options: dict[str, Any] = {"path": "/v1/", "auth": ["corp"], "models": ["demo", "demo-slow"]}
    options["upstream"] = None
    config = simple_config(url, server={"playground": page}, **options)
    upstream = next(iter(config["upstreams"]))
    config["models"] = {name: {"upstream": upstream} for name in ("demo", "demo-slow")}
    return {**config, "auth": CORP}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYGROUND_PASSWORD", PASSWORD)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)


def basic(password: str, user: str = "anybody") -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def test_it_is_off_unless_asked_for(start_gateway: StartGateway) -> None:
    gateway = await start_gateway({**document("http://127.0.0.1:9"), "server": {}})
    answer = await ask(gateway.port, request(target="/playground/"), "GET")
    assert_error(answer, 404, code="not_found")


async def test_nothing_of_it_is_served_without_its_password(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(document("http://127.0.0.1:9"))
    for headers in (
        [],
        [basic("another-password-of-length")],
        [basic("", user=PASSWORD)],
        ["Authorization: Basic !!!"],
        ["Authorization: Basic \u00e9\u00e9\u00e9\u00e9"],
        [f"Authorization: Bearer {PASSWORD}"],
    ):
        for name in ("", "nothing.js", *FILES):
            asked = request(target=f"/playground/{name}", headers=headers)
            answer = await ask(gateway.port, asked, "GET")
            assert answer.status == 401
            told = answer.value("www-authenticate")
            assert told == b'Basic realm="playground", charset="UTF-8"'
            assert b"html" not in answer.body


async def test_its_files_come_with_a_policy_and_are_not_shared(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway(document("http://127.0.0.1:9"))
    for name in ("", "client.js", *FILES):
        target = f"/playground/{name}"
        answer = await ask(gateway.port, request(target=target, headers=[basic(PASSWORD)]), "GET")
        assert answer.status == 200
        assert b"default-src 'none'" in (answer.value("content-security-policy") or b"")
        assert answer.value("cache-control") == b"private, no-cache"
    asked = request(target="/playground/../v1/", headers=[basic(PASSWORD)])
    assert (await ask(gateway.port, asked, "GET")).status == 400
    asked = request(target="/playground/nothing", headers=[basic(PASSWORD)])
    assert (await ask(gateway.port, asked, "GET")).status == 404


async def test_its_password_opens_no_route(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(document("http://127.0.0.1:9"))
    answer = await ask(gateway.port, request(target="/v1/models", headers=[basic(PASSWORD)]), "GET")
    assert answer.status == 401


async def test_routes_list_it_with_its_password(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(document("http://127.0.0.1:9"))
    row, *_ = shown(gateway.config, gateway.server.runtime.routes)
    assert (row["route"], row["path"], row["auth"]) == ("playground", "/playground/*", "password")


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningGateway]:
    monkeypatch.setenv("PLAYGROUND_PASSWORD", PASSWORD)
    monkeypatch.setenv(SECRET_VARIABLE, SECRET)
    backend = DemoBackend(pace_s=0.005)
    await backend.start()
    gateway = RunningGateway(document(backend.url), {})
    await gateway.start()
    yield gateway
    assert await gateway.stop() == []
    await backend.stop()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_caller_chats_with_a_key_of_their_own(
    gateway: RunningGateway, chromium: Browser
) -> None:
    credentials: Any = {"username": "ann", "password": PASSWORD}
    context = await chromium.new_context(http_credentials=credentials)
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(f"{gateway.url}/playground/")
    await page.fill("#key", "sk-nobody")
    await page.locator("#key").blur()
    await expect(page.locator("#state")).to_contain_text("is not of a kind")
    await page.fill("#key", bearer(sub="ann").split()[-1])
    await page.locator("#key").blur()
    await expect(page.locator("#state")).to_have_text("ready")
    assert await page.locator("#model option").all_inner_texts() == ["demo", "demo-slow"]
    await page.fill("#prompt", "Hello")
    await page.click("#send")
    await expect(page.locator("#state")).to_have_text("done")
    assert len((await page.inner_text("#answer")).split()) > 5
    await expect(page.locator("#figures")).to_contain_text("First token after")
    await page.select_option("#model", "demo-slow")
    await page.click("#send")
    await page.click("#stop")
    await expect(page.locator("#state")).to_have_text("stopped")
    # The key is in no storage, and a reload forgets it.
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0
    await page.evaluate(AXE.read_text())
    found = await page.evaluate(
        "axe.run(document).then(({ violations }) => violations.map((v) => v.id))"
    )
    assert (found, faults) == ([], [])
    await context.close()
