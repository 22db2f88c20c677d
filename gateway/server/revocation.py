"""End of event streams whose caller's credential was revoked, suspended or shortened.

One check a second for all streams of a process, so that requests cost nothing. A WebSocket session
checks its credential itself (`gateway/websocket/watch.py`). The expiry of a token, which is known
when the stream begins, has a timer (`gateway/server/expiry.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gateway.auth.principal import Principal
from gateway.auth.validity import CredentialValidity
from gateway.errors import CredentialExpired
from gateway.server.connection import Connection
from gateway.server.listener import Listener

CHECK_S = 1.0
"""Seconds between two checks."""


class RevocationCheck:
    """Periodic check of the credentials of the streams under way."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Check from now on."""
        self._timer = self._loop.call_later(CHECK_S, self._check)

    def close(self) -> None:
        """Stop checking."""
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        self.start()
        runtime = self._listener.runtime
        lasting = {route.name for route in runtime.config.routes if not route.end_on_expiry}
        checked: dict[int, bool] = {}  # callers have many streams
        for connection, principal, route in list(self._streams()):
            if route in lasting or principal.provider not in runtime.providers:
                continue  # a reload removed the provider; its streams continue
            holds = checked.get(id(principal))
            if holds is None:
                holds = CredentialValidity(runtime.providers, principal).holds()
                checked[id(principal)] = holds
            if not holds:
                connection.end(CredentialExpired())

    def _streams(self) -> Iterator[tuple[Connection, Principal, str | None]]:
        for connection in self._listener.connections:
            writer, exchange = connection.writer, connection.exchange
            if writer is None or exchange is None or not writer.is_stream:
                continue
            if exchange.principal is not None:
                yield connection, exchange.principal, exchange.route
