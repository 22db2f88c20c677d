"""Look-up of the class of an ended request, for its reports: see `RequestClass`."""

from __future__ import annotations

from gateway.exchange import Exchange
from gateway.telemetry.logs.json_text import SHORT
from gateway.telemetry.request_class import RequestClass

KEPT = 2048
"""Maximum number of classes in memory. Each refers to a principal."""


class RequestClasses:
    """Classes of the requests of one configuration."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], RequestClass] = {}

    def of(self, exchange: Exchange) -> RequestClass:
        """Return the class of a request that has ended, and keep it in the exchange. A request that
        failed, or was sent more than once, is in a class of its own.
        """
        principal, path = exchange.principal, exchange.path
        if (
            exchange.failure is not None
            or exchange.attempts > 1
            or exchange.fallbacks
            or exchange.continued
            or exchange.delegated is not None
        ):
            exchange.request_class = found = RequestClass(principal)
            return found
        # A principal is found by its identity: its hash would cost more than all the rest.
        facts = (
            id(principal),
            path,
            exchange.method,
            exchange.client_ip,
            exchange.route,
            exchange.model,
            exchange.served,
            exchange.upstream,
            exchange.endpoint,
            exchange.status,
            exchange.end_reason,
            exchange.first_byte_at is None,
        )
        known = self._known.get(facts)
        if known is None:
            known = RequestClass(principal)
            if len(path) + len(exchange.method) <= SHORT:
                if len(self._known) >= KEPT:
                    self._known.clear()  # clients choose some of the facts
                self._known[facts] = known
        exchange.request_class = known
        return known
