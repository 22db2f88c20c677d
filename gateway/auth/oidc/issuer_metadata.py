"""Metadata of an OpenID Connect issuer (OpenID Connect Discovery 1.0 section 3, RFC 8414)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import aiohttp
import orjson

from gateway.auth.key_sets import Fetch
from gateway.http.urls import is_trustworthy

FRESH_S = 3600.0
STALE_S = 24 * 3600.0
RETRY_S = 1.0
_PATH = "/.well-known/openid-configuration"


class UnusableIssuer(Exception):
    """The issuer's metadata cannot be had, or not be used. The text is for the log."""


@dataclass(frozen=True, slots=True)
class IssuerMetadata:
    """Endpoints and abilities of an issuer."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    names_itself: bool
    """True if its authorization responses have `iss` (RFC 9207)."""
    client_authentication: Literal["basic", "post"]
    """Method by which a client shows its secret (OpenID Connect Core 1.0 section 9)."""


def parse_metadata(document: object, issuer: str) -> IssuerMetadata:
    """Return the metadata in a document. Raise UnusableIssuer."""
    if not isinstance(document, dict):
        raise UnusableIssuer("the OpenID configuration is no JSON object")
    if document.get("issuer") != issuer:
        # It must be identical (section 4.3); otherwise another issuer's answers would be accepted.
        shown = ascii(document.get("issuer"))[:200]
        raise UnusableIssuer(f"the OpenID configuration is another issuer's: {shown}")
    endpoints: dict[str, str | None] = {}
    for name, is_needed in (
        ("authorization_endpoint", True),
        ("token_endpoint", True),
        ("userinfo_endpoint", False),
        ("end_session_endpoint", False),
    ):
        url = document.get(name)
        if url is None and not is_needed:
            endpoints[name] = None
            continue
        if not isinstance(url, str) or not is_trustworthy(url) or "#" in url:
            raise UnusableIssuer(f"{name} is not an https URL")
        endpoints[name] = url
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    posts = isinstance(methods, list) and "client_secret_basic" not in methods
    authorization, token = endpoints["authorization_endpoint"], endpoints["token_endpoint"]
    assert authorization is not None
    assert token is not None
    return IssuerMetadata(
        issuer,
        authorization,
        token,
        endpoints["userinfo_endpoint"],
        endpoints["end_session_endpoint"],
        document.get("authorization_response_iss_parameter_supported") is True,
        "post" if posts and "client_secret_post" in methods else "basic",
    )


class IssuerDirectory:
    """Metadata of one issuer: fetched when it is needed, and kept for an hour. While it cannot be
    fetched again, the former one is used for up to a day.
    """

    def __init__(
        self, issuer: str, fetch: Fetch, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._now = now
        self._found: IssuerMetadata | None = None
        self._fetched_at = 0.0
        self._tried_at = -RETRY_S
        self._fault = ""
        self._one_at_a_time = asyncio.Lock()

    async def metadata(self) -> IssuerMetadata:
        """Return the metadata. Concurrent callers wait for the same fetch. Raise UnusableIssuer."""
        async with self._one_at_a_time:
            now = self._now()
            is_old = self._found is None or now >= self._fetched_at + FRESH_S
            if is_old and now >= self._tried_at + RETRY_S:
                await self._fetch_again()
            if self._found is not None and self._now() < self._fetched_at + STALE_S:
                return self._found
        raise UnusableIssuer(self._fault)

    async def _fetch_again(self) -> None:
        try:
            self._found = await self._fetched()
            self._fetched_at = self._now()
        except UnusableIssuer as exc:
            self._fault = str(exc)
        finally:
            self._tried_at = self._now()

    async def _fetched(self) -> IssuerMetadata:
        try:
            document = orjson.loads(await self._fetch(self._issuer.rstrip("/") + _PATH))
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as exc:
            why = f"{type(exc).__name__}: {exc}"
            raise UnusableIssuer(f"its OpenID configuration cannot be fetched: {why}") from exc
        return parse_metadata(document, self._issuer)
