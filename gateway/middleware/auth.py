"""Authentication: the first provider that accepts the credential names the principal."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from gateway.auth.jwt import JwtProvider, Rejected
from gateway.errors import Unauthenticated
from gateway.exchange import GatewayRequest
from gateway.routing import Handler


class Authenticate:
    """Requires a bearer token (RFC 6750), or the same in `x-api-key`, as Anthropic's SDK sends."""

    def __init__(self, providers: Sequence[JwtProvider]) -> None:
        self._providers = tuple(providers)

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        """Raise Unauthenticated; which check failed is for the log only."""
        token = self._credential(request)
        rejections = []
        for provider in self._providers:
            try:
                request.exchange.principal = provider.verify(token)
                break
            except Rejected as exc:
                rejections.append(f"{provider.name}: {exc}")
        else:
            raise Unauthenticated('Bearer error="invalid_token"', reason="; ".join(rejections))
        return await handler(request)

    @staticmethod
    def _credential(request: GatewayRequest) -> str:
        values = request.headers.getall("Authorization", ())
        keys = request.headers.getall("X-Api-Key", ())
        if len(values) + len(keys) > 1:
            raise Unauthenticated(
                'Bearer error="invalid_request"', reason="more than one credential"
            )
        if keys:
            return keys[0]
        if not values:
            raise Unauthenticated("Bearer", reason="no credential")
        scheme, _, token = values[0].partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Bearer", reason="not a bearer token")
        return token.strip()
