"""Client of one issuer that signs people in: sends them there, and learns who came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from gateway.auth.claims import claim
from gateway.auth.key_sets import KeySet
from gateway.auth.oidc.authorization import (
    AuthorizationAnswer,
    authorization_url,
    check_issuer,
)
from gateway.auth.oidc.id_token import IdTokenVerifier
from gateway.auth.oidc.issuer_metadata import IssuerDirectory, UnusableIssuer
from gateway.auth.oidc.token_client import TokenClient

_HINT_CAP = 6000
"""Longest ID token that is sent in a URL, in characters."""


@dataclass(frozen=True, slots=True)
class PendingSignIn:
    """State of a sign-in until its browser comes back. All texts are secret."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Person that signed in."""

    claims: Mapping[str, Any]
    """Verified claims of the ID token, and those of the userinfo endpoint that it lacks."""
    id_token: str = field(repr=False)


class OidcClient:
    """Relying party of one issuer."""

    def __init__(
        self,
        *,
        client_id: str,
        scopes: Sequence[str],
        directory: IssuerDirectory,
        keys: KeySet,
        verifier: IdTokenVerifier,
        tokens: TokenClient,
    ) -> None:
        self.client_id = client_id
        self.directory = directory
        self._scopes = scopes
        self._keys = keys
        self._verifier = verifier
        self._tokens = tokens

    async def start(self, pending: PendingSignIn) -> str:
        """Return the URL at the issuer to which the browser is sent. Raise UnusableIssuer."""
        return authorization_url(
            await self.directory.metadata(),
            client_id=self.client_id,
            redirect_uri=pending.redirect_uri,
            scopes=self._scopes,
            state=pending.state,
            nonce=pending.nonce,
            verifier=pending.verifier,
        )

    async def check(self, query: str) -> None:
        """Check which issuer sent a response. Raise BadAnswer or UnusableIssuer."""
        check_issuer(query, await self.directory.metadata())

    async def finish(
        self, answer: AuthorizationAnswer, pending: PendingSignIn, needed: Sequence[str]
    ) -> SignedIn:
        """Return who signed in. Claims that are `needed` and not in the ID token are asked for at
        the userinfo endpoint. Raise UnusableIssuer, CodeRefused, IssuerFailed, BadIdToken or
        AuthUnavailable.
        """
        assert answer.code is not None
        metadata = await self.directory.metadata()
        found = await self._tokens.exchange(
            metadata, answer.code, pending.redirect_uri, pending.verifier
        )
        claims = await self._verifier.verify(found.id_token, pending.nonce)
        if found.access_token is not None and any(claim(claims, one) is None for one in needed):
            more = await self._tokens.userinfo(metadata, found.access_token, claims["sub"])
            claims = {**more, **claims}
        return SignedIn(claims, found.id_token)

    async def end_session_url(self, id_token: str | None, return_uri: str) -> str | None:
        """Return the URL at which the browser ends its session at the issuer too (OpenID Connect
        RP-Initiated Logout 1.0 section 2); None if the issuer has none, or cannot be reached.
        """
        try:
            endpoint = (await self.directory.metadata()).end_session_endpoint
        except UnusableIssuer:
            return None
        if endpoint is None:
            return None
        parameters = {"client_id": self.client_id, "post_logout_redirect_uri": return_uri}
        if id_token is not None and len(id_token) <= _HINT_CAP:
            parameters["id_token_hint"] = id_token
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"

    def close(self) -> None:
        """Cancel a fetch of keys in progress."""
        self._keys.close()
