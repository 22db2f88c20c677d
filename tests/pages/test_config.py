"""The page of the configuration in Chromium: its units, and what reloads changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from playwright.async_api import Browser, expect

from tests.support.admin import admin
from tests.support.browser import Opened, OpenPage, Screen
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_configuration_is_shown_without_secrets_and_searched(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, "/config")
    page = opened.page
    await expect(page.get_by_role("region", name="auth")).to_contain_text('secret: "***"')
    assert "canary7f3a" not in await page.content()
    await page.keyboard.press("/")
    await page.keyboard.type("Stepped")
    await expect(page.locator("main details")).to_have_count(2)  # its upstream, and its route
    await expect(page.get_by_role("region", name="routes")).to_contain_text("path: /stepped/v1/")


async def test_a_reload_says_what_it_changed_and_what_asked_for_it(
    chromium: Browser, tmp_path: Path, fork_server: ForkServer
) -> None:
    headers = {"X-Key": "canary-one"}
    gateway = GatewayProcess(
        simple_config("http://127.0.0.1:9", upstream={"headers": headers}),
        {},
        tmp_path / "gateway.yaml",
        fork_server=fork_server,
    )
    await gateway.start()
    try:
        document = yaml.safe_load(gateway.file.read_text())
        document["upstreams"]["main"] |= {
            "headers": {"X-Key": "canary-two"},
            "timeouts": {"idle": "90s"},
        }
        document["upstreams"]["spare"] = {"endpoints": [{"url": "http://127.0.0.1:10"}]}
        gateway.file.write_text(yaml.safe_dump(document))
        assert (await admin(gateway, "POST", "/api/reload")).status == 200
        opened = await Opened.start(chromium, gateway, "/config", Screen())
        page = opened.page
        reloads = page.get_by_role("region", name="Reloads")
        await expect(reloads).to_contain_text("asked for by an operator")
        await expect(reloads).to_contain_text("3 differences")
        row = reloads.get_by_role("row", name="timeouts")
        await expect(row).to_contain_text(re.compile("300s|5m"))
        await expect(row).to_contain_text("90s")
        secret = reloads.get_by_role("row", name="upstreams.main.headers.X-Key")
        await expect(secret).to_contain_text("*** another value")
        spare = reloads.get_by_role("row", name="upstreams.spare")
        await expect(spare).to_contain_text("not set")
        await expect(spare).to_contain_text("url: http://127.0.0.1:10")
        assert "canary" not in await page.content()
        assert await opened.axe() == []
        gateway.file.write_text(gateway.file.read_text() + "\nnonsense: 1\n")
        await page.get_by_role("button", name="Read the file again").click()
        await expect(reloads).to_contain_text("refused, nothing was changed")
        assert await opened.close() == [
            "console: Failed to load resource: the server responded "
            "with a status of 400 (Bad Request)"
        ]
    finally:
        await gateway.stop()


async def test_other_files_and_variables_are_shown(
    chromium: Browser, tmp_path: Path, fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "teams").mkdir()
    limits = "limits: {team-a: {key: ip, requests: 9/minute}}\n"
    (tmp_path / "teams/a.yaml").write_text(limits)
    gateway = GatewayProcess(
        simple_config("http://127.0.0.1:9"),
        {"include": ["teams"]},
        tmp_path / "gateway.yaml",
        fork_server=fork_server,
    )
    monkeypatch.setenv("GATEWAY_SERVER__DRAIN", "7s")
    await gateway.start()
    try:
        opened = await Opened.start(chromium, gateway, "/config", Screen())
        page = opened.page
        await expect(page.locator("main")).to_contain_text(f"Includes {tmp_path}/teams/a.yaml.")
        row = page.get_by_role("row", name="server.drain")
        await expect(row).to_contain_text("GATEWAY_SERVER__DRAIN")
        await expect(page.get_by_role("region", name="limits")).to_contain_text("team-a")
        assert await opened.axe() == []
        assert await opened.close() == []
    finally:
        await gateway.stop()
