"""The page of the self-service in Chromium: own limits, usage and keys, with a key of one's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.admin import admin
from tests.support.browser import AXE
from tests.support.client import ask, request
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.pages import wide
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import asked_until

PATIENCE_MS = 20_000
USAGE = {"usage": {"prompt_tokens": 10, "completion_tokens": 5}}


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(tmp_path: Path, fork_server: ForkServer) -> AsyncIterator[GatewayProcess]:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        config = simple_config(upstream.url, auth=["keys"], models=["m"], self_service=True)
        config["models"] = {"m": {"upstream": "main", "price": {"input": 1e6, "output": 1e6}}}
        sections = {
            "auth": {"keys": {"type": "api_key"}},
            "store": {"url": f"sqlite://{tmp_path / 'store.db'}"},
            "telemetry": {"traces": {"local": str(tmp_path / "traces.db")}},
        }
        file = tmp_path / "gateway.yaml"
        running = GatewayProcess(config, sections, file, fork_server=fork_server)
        await running.start()
        yield running
        await running.stop()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_caller_sees_limits_and_usage_and_makes_and_revokes_a_key(
    gateway: GatewayProcess, chromium: Browser
) -> None:
    team = {"user_keys": 1, "limits": {"budgets": ["100 USD/month"]}}
    assert (await admin(gateway, "PUT", "/api/teams/search", team)).status == 200
    order = {"owner": "<b>ann</b>", "team": "search"}
    secret = str((await admin(gateway, "POST", "/api/keys", order)).json()["secret"])
    body = json.dumps({"model": "m", "messages": [], "max_tokens": 5}).encode()
    headers = [f"Authorization: Bearer {secret}", "Connection: close"]
    chat = request("POST", headers=headers, body=body)
    await asked_until(
        lambda: ask(gateway.port, chat), lambda answer: answer.status == 200, patience_s=20.0
    )
    used = request("GET", "/v1/me/usage", headers=headers)
    await asked_until(
        lambda: ask(gateway.port, used), lambda answer: b'"m"' in answer.body, patience_s=20.0
    )
    context = await chromium.new_context(viewport={"width": 390, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(f"http://127.0.0.1:{gateway.port}/v1/me/page/")
    await page.fill("#key", "sk-nobody")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator("#problem")).to_contain_text("is not of a kind")
    await page.fill("#key", secret)
    await page.keyboard.press("Enter")
    await expect(page.locator("#who")).to_contain_text("<b>ann</b>")
    await expect(page.locator("#limits")).to_contain_text(
        "The team's budget of 100 USD/month: 15 of 100 used, starts anew on"
    )
    await page.select_option("#by", "model")
    row = page.locator("#usage tbody tr", has_text="m")
    await expect(row.first).to_contain_text("15 USD")
    await page.get_by_role("button", name="Make a key").click()
    await expect(page.locator("#made code")).to_contain_text("sk-gw-")
    row = page.locator("#keys tbody tr")
    await expect(row).to_contain_text("usable")
    await page.evaluate(AXE.read_text())
    found = await page.evaluate(
        "axe.run(document).then(({ violations }) => violations.map((v) => v.id))"
    )
    assert (found, await wide(page)) == ([], 0)
    await page.get_by_role("button", name="Make a key").click()
    await expect(page.locator("#problem")).not_to_be_empty()
    await row.get_by_role("button", name="Revoke").click()
    await expect(row).to_contain_text("revoked")
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0
    assert faults == []
    await context.close()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_page_has_a_policy_and_no_other_files(gateway: GatewayProcess) -> None:
    page = await ask(gateway.port, request("GET", "/v1/me/page/"))
    assert page.status == 200
    assert b"default-src 'none'" in (page.value("content-security-policy") or b"")
    for name in ("account.css", "account.js"):
        assert (await ask(gateway.port, request("GET", f"/v1/me/page/{name}"))).status == 200
    assert (await ask(gateway.port, request("GET", "/v1/me/page/else"))).status == 404
    assert (await ask(gateway.port, request("GET", "/v1/me"))).status == 401
