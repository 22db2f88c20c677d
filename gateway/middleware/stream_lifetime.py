"""Lifetime of streams: a response stream ends some time after its request arrived."""

from __future__ import annotations

import time

from gateway.errors import StreamExpired
from gateway.request import Request


class StreamLifetime:
    """Policy that sets the time at which the client's connection ends a stream.

    It comes after authentication: a credential that expires sooner ends the stream sooner.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s

    def on_request(self, request: Request) -> None:
        """Set the time, unless the stream has to end before."""
        exchange = request.exchange
        at = time.time() + self._lifetime_s
        if exchange.expires_at is None or at < exchange.expires_at:
            exchange.expires_at = at
            exchange.expires_with = StreamExpired
