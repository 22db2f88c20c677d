"""Operators in Chromium, behind nginx with TLS, which serves the admin listener below a path."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support.admin import admin
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, config_text, simple_config
from tests.support.nginx import Nginx
from tests.support.node_issuer import SECRET, NodeIssuer

pytestmark = pytest.mark.asyncio(loop_scope="session")
_LOCATION = """
location /ops/gateway/ {
    proxy_pass http://gateway/;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_buffering off;
}
"""
_PATIENCE_MS = 20_000


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fork_server: ForkServer
) -> AsyncIterator[GatewayProcess]:
    monkeypatch.setenv("ADMIN_TOKEN", "break-glass-7f3a")
    monkeypatch.setenv("OIDC_SECRET", SECRET)
    section = {"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}}
    file = tmp_path / "gateway.yaml"
    config = simple_config("http://127.0.0.1:1")
    running = GatewayProcess(config, {"admin": section}, file, fork_server=fork_server)
    await running.start()
    yield running
    await running.stop()
    assert b"Traceback" not in running.errors, running.errors.decode()


async def test_sign_in_pages_and_sign_out_work_below_a_path_of_a_proxy(
    gateway: GatewayProcess, chromium: Browser, tmp_path: Path
) -> None:
    nginx = Nginx(tmp_path / "nginx", gateway.admin_port, site={"locations": _LOCATION})
    async with nginx, NodeIssuer() as issuer:
        public = f"https://localhost:{nginx.port}/ops/gateway"
        await issuer.serve(public)
        sign_in = {
            "issuer": issuer.url,
            "client_id": "gateway",
            "client_secret": {"env": "OIDC_SECRET"},
            "scopes": ["openid", "email", "groups"],
            "roles": {"admin": ["admin"]},
        }
        section = {
            "listen": "127.0.0.1:0",
            "token": {"env": "ADMIN_TOKEN"},
            "public_url": public,
            "sign_in": sign_in,
        }
        config = simple_config("http://127.0.0.1:1", server={"trusted_proxies": ["127.0.0.1/32"]})
        gateway.file.write_text(config_text(config, {"admin": section}))
        bearer = "Authorization: Bearer break-glass-7f3a"
        assert (await admin(gateway, "POST", "/api/reload", None, bearer)).status == 200
        await _visit(chromium, public)
        # Nobody is sent to an address that is not configured, such as that of the listener.
        refused = await admin(gateway, "GET", "/sign-in", None, "Host: 127.0.0.1:9090")
        assert refused.status == 400
        assert public in refused.body.decode()


async def _visit(chromium: Browser, public: str) -> None:
    """Sign in, look around, and sign out."""
    context = await chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(_PATIENCE_MS)
    page = await context.new_page()
    failed: list[str] = []
    page.on("requestfailed", lambda request: failed.append(f"{request.url}: {request.failure}"))
    await page.goto(f"{public}/limits?find=a")
    await page.get_by_role("button", name="Sign in at localhost").click()
    await page.get_by_label("Name").fill("admin")
    await page.get_by_role("button", name="Enter").click()
    await expect(page).to_have_url(f"{public}/limits?find=a")
    await expect(page.locator("#who")).to_have_text("admin@example.com admin")
    names = [str(one.get("name")) for one in await context.cookies(public)]
    assert any(re.fullmatch("__Host-gateway_session_[0-9]+", name) for name in names), names
    assert all(name.startswith("__Host-") for name in names if "gateway" in name)
    await page.get_by_role("link", name="Audit").click()
    await expect(page).to_have_url(f"{public}/audit")
    await expect(page.get_by_role("row", name=re.compile("signed in")).first).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("heading", name="Audit")).to_be_visible()
    await page.keyboard.press("8")
    await expect(page).to_have_url(f"{public}/config")
    await page.get_by_role("button", name="Read the file again").click()
    await expect(page.get_by_text("read again at")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Yes, sign me out").click()
    await expect(page).to_have_url(f"{public}/")
    await expect(page.get_by_role("button", name="Sign in at localhost")).to_be_visible()
    await context.close()
    # Leaving a page ends what it still asks for.
    assert [one for one in failed if not one.endswith("net::ERR_ABORTED")] == []
