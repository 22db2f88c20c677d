"""Requests of the gateway to an issuer: the token endpoint and the userinfo endpoint."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus, urlencode

import aiohttp
import orjson

from gateway.auth.oidc.issuer_metadata import IssuerMetadata
from gateway.http.connectors import connector_to
from gateway.http.egress import Proxy

_TIMEOUT_S = 10.0
_SIZE_CAP_BYTES = 512 * 1024


class IssuerFailed(Exception):
    """The issuer does not answer, or not as it should. The text is for the log."""


class CodeRefused(Exception):
    """The issuer does not accept the code. The text is for the log."""


@dataclass(frozen=True, slots=True)
class TokenSet:
    """Tokens that the issuer gave for a code."""

    id_token: str = field(repr=False)
    access_token: str | None = field(repr=False)


class TokenClient:
    """Client at one issuer."""

    def __init__(
        self,
        client_id: str,
        secret: str | None,
        *,
        context: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """`context` and `proxy` are for connections to the issuer; None: those of the system, and
        no proxy.
        """
        self._client_id = client_id
        self._secret = secret
        self._context = context
        self._proxy = proxy

    async def exchange(
        self, metadata: IssuerMetadata, code: str, redirect_uri: str, verifier: str
    ) -> TokenSet:
        """Exchange a code for tokens (RFC 6749 section 4.1.3, RFC 7636 section 4.5). Raise
        CodeRefused or IssuerFailed.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if self._secret is None:
            form["client_id"] = self._client_id
        elif metadata.client_authentication == "post":
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        else:
            # Both are encoded like a form first (RFC 6749 section 2.3.1).
            basic = aiohttp.BasicAuth(quote_plus(self._client_id), quote_plus(self._secret))
            headers["Authorization"] = basic.encode()
        body = urlencode(form).encode()
        status, document = await self._ask("POST", metadata.token_endpoint, headers, body)
        if status != 200:
            error = ascii(document.get("error"))[:100]
            if 400 <= status < 500:
                raise CodeRefused(f"the token endpoint answers {status}: {error}")
            raise IssuerFailed(f"the token endpoint answers {status}: {error}")
        token, access = document.get("id_token"), document.get("access_token")
        if not isinstance(token, str):
            raise IssuerFailed("the token endpoint returns no ID token")
        return TokenSet(token, access if isinstance(access, str) else None)

    async def userinfo(
        self, metadata: IssuerMetadata, access_token: str, subject: str
    ) -> Mapping[str, Any]:
        """Return further claims of a subject; none if the issuer has no such endpoint. Raise
        IssuerFailed.
        """
        if metadata.userinfo_endpoint is None:
            return {}
        if not access_token.isascii() or not access_token.isprintable():
            raise IssuerFailed("the access token is malformed")
        headers = {"Authorization": f"Bearer {access_token}"}
        status, document = await self._ask("GET", metadata.userinfo_endpoint, headers)
        if status != 200:
            raise IssuerFailed(f"the userinfo endpoint answers {status}")
        if document.get("sub") != subject:
            # OpenID Connect Core 1.0 section 5.3.4: the claims may be another person's.
            raise IssuerFailed("the userinfo endpoint answers about another subject")
        return document

    async def _ask(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[int, Mapping[str, Any]]:
        """Return status and document of a response; an empty one if it is no JSON object."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=timeout,
                    connector=connector_to(url, self._proxy, context=self._context),
                ) as session,
                session.request(
                    method,
                    url,
                    data=body,
                    headers={"Accept": "application/json", **headers},
                    allow_redirects=False,
                ) as response,
            ):
                data = bytearray()
                async for piece in response.content.iter_any():
                    data += piece
                    if len(data) > _SIZE_CAP_BYTES:
                        raise IssuerFailed(f"more than {_SIZE_CAP_BYTES} bytes")
                status = response.status
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as exc:
            raise IssuerFailed(f"{type(exc).__name__}: {exc}") from exc
        try:
            document = orjson.loads(bytes(data))
        except orjson.JSONDecodeError:
            document = None
        return status, document if isinstance(document, dict) else {}
