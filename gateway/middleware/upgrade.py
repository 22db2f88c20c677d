"""WebSocket upgrades, validated before authentication, so that no ticket is spent on an invalid
one.
"""

from __future__ import annotations

from collections.abc import Collection

from gateway.request import Request
from gateway.session import SessionState
from gateway.websocket.handshake import read_handshake


class Upgrade:
    """Policy of one route. A request that is no upgrade passes unchanged."""

    def __init__(self, origins: Collection[str], *, deflate: bool) -> None:
        """`origins` are the origins whose pages may connect from a browser; if empty, only pages of
        the host itself.
        """
        self._origins = frozenset(origins)
        self._deflate = deflate

    def on_request(self, request: Request) -> None:
        """Read the handshake of an upgrade. Raise RequestError."""
        if request.message.upgrade:
            handshake = read_handshake(
                request.headers, origins=self._origins, deflate=self._deflate
            )
            request.exchange.session = SessionState(handshake)
