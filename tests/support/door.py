"""Gateway whose only route requires a credential, and requests with credentials."""

from __future__ import annotations

from typing import Any

from tests.support.client import Response, ask
from tests.support.gateway import RunningGateway, simple_config
from tests.support.upstream import ScriptedUpstream


def guarded(upstream: ScriptedUpstream, auth: dict[str, Any], **route: Any) -> dict[str, Any]:
    """A configuration: `/v1/` is open to whom one of these providers vouches for."""
    return {**simple_config(upstream.url, auth=list(auth), **route), "auth": auth}


def get(path: str = "/v1/x", *lines: str) -> bytes:
    """A request with these header lines, the only one on its connection."""
    head = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *lines]
    return "\r\n".join([*head, "", ""]).encode()


async def with_token(gateway: RunningGateway, token: str, path: str = "/v1/x") -> Response:
    """Send a request with a token. Return the response."""
    return await ask(gateway.port, get(path, f"Authorization: Bearer {token}"))
