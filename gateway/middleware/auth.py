"""Authentication: the first provider that accepts the credential names the principal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aiohttp import web

from gateway.auth.provider import Provider, Rejected
from gateway.errors import Forbidden, Unauthenticated
from gateway.exchange import GatewayRequest
from gateway.routing import Handler


class Authenticate:
    """Requires a credential: a bearer token (RFC 6750), the same in `x-api-key` or `api-key`, as
    clients of Anthropic's and Azure's APIs send it, or in a provider's own header.
    """

    def __init__(self, providers: Sequence[Provider], scopes: Iterable[str] = ()) -> None:
        """`scopes` are those a principal has to have, all of them."""
        self._providers = tuple(providers)
        self._scopes = frozenset(scopes)
        own = [provider.header for provider in providers if provider.header]
        self._headers = tuple(dict.fromkeys(["X-Api-Key", "Api-Key", *own]))

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        """Raise Unauthenticated, Forbidden or AuthUnavailable, the reason for the log only."""
        credential = self._credential(request)
        rejections = []
        for provider in self._providers:
            try:
                principal = await provider.verify(credential)
                break
            except Rejected as exc:
                rejections.append(f"{provider.name}: {exc}")
        else:
            raise Unauthenticated('Bearer error="invalid_token"', reason="; ".join(rejections))
        request.exchange.principal = principal
        if not self._scopes <= principal.scopes:
            raise Forbidden(f"needs {' '.join(sorted(self._scopes - principal.scopes))}")
        return await handler(request)

    def _credential(self, request: GatewayRequest) -> str:
        headers = request.headers
        values = headers.getall("Authorization", ())
        keys = [key for name in self._headers for key in headers.getall(name, ())]
        if len(values) + len(keys) > 1:
            raise Unauthenticated(
                'Bearer error="invalid_request"', reason="more than one credential"
            )
        if keys:
            return keys[0].strip()
        if not values:
            raise Unauthenticated("Bearer", reason="no credential")
        scheme, _, token = values[0].partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Bearer", reason="not a bearer token")
        return token.strip()
