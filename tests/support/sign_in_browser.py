"""Browser without scripts that signs in at an issuer, and the gateway that it signs in to."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, Self

import aiohttp
from yarl import URL

from tests.support.admin import admin
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.sign_in_issuer import SignInIssuer

TOKEN = "break-glass-7f3a"
BEARER = f"Authorization: Bearer {TOKEN}"


class Browser:
    """Browser: keeps cookies, and follows redirects one by one."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self.url = f"http://localhost:{gateway.admin_port}"
        # An address of its own, from which sign-ins are counted.
        address = f"2001:db8::{secrets.randbelow(2**16):x}:{secrets.randbelow(2**16):x}"
        self.http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"X-Forwarded-For": address}
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()

    @property
    def session_cookie(self) -> str:
        """Value of the cookie of the session."""
        (found,) = [one.value for one in self.http.cookie_jar if "session" in one.key]
        return found

    async def get(self, url: str, **headers: str) -> tuple[int, str, aiohttp.ClientResponse]:
        """Return status, body and the response of a page, or of a redirect."""
        address = URL(url if "://" in url else self.url + url, encoded=True)
        async with self.http.get(address, allow_redirects=False, headers=headers) as response:
            return response.status, await response.text(), response

    async def begin(self, query: str = "") -> str:
        """Begin a sign-in. Return the URL at the issuer."""
        status, body, response = await self.get(f"/sign-in{query}")
        assert status == 303, body
        return response.headers["Location"]

    async def back(self, url: str) -> str:
        """Sign in at the issuer. Return the URL to which it sends the browser back."""
        status, body, response = await self.get(url)
        assert status == 302, body
        return response.headers["Location"]

    async def sign_in(self, query: str = "") -> tuple[int, str, aiohttp.ClientResponse]:
        """Sign in. Return the last answer of the gateway."""
        return await self.get(await self.back(await self.begin(query)))

    async def session(self) -> dict[str, Any]:
        """Return the state of the session."""
        status, body, _ = await self.get("/api/session")
        assert status == 200
        found: dict[str, Any] = json.loads(body)
        return found

    async def send(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        """Send a change from the gateway's own page."""
        headers = {"Origin": self.url}
        async with self.http.request(method, self.url + path, headers=headers) as response:
            return response.status, await response.json()


def sign_in_config(folder: Path) -> dict[str, Any]:
    """Return a configuration whose store is a file."""
    return {
        **simple_config("http://127.0.0.1:1", server={"trusted_proxies": ["127.0.0.0/8"]}),
        "store": {"url": f"sqlite://{folder / 'store.db'}"},
    }


def sign_in_options(issuer: SignInIssuer, **more: Any) -> dict[str, Any]:
    """Return the section `admin`."""
    return {
        "listen": "127.0.0.1:0",
        "token": {"env": "ADMIN_TOKEN"},
        "sign_in": issuer.sign_in(**more),
    }


async def audit(gateway: GatewayProcess, **wanted: str) -> list[dict[str, Any]]:
    """Return entries of the audit log, the newest first."""
    query = "&".join(f"{name}={value}" for name, value in wanted.items())
    response = await admin(gateway, "GET", f"/api/audit?{query}", None, BEARER)
    found: list[dict[str, Any]] = response.json()["entries"]
    return found
