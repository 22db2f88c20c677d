"""Access log: one line for each request, written when the request has ended."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.exchange import Exchange, GatewayRequest
from gateway.routing import Handler
from gateway.telemetry.logs.control import LogControl
from gateway.telemetry.logs.logger import writes


class AccessLog:
    """Writer of `request` log lines. Fields without a value are omitted."""

    def __init__(self, logger: FilteringBoundLogger, control: LogControl | None = None) -> None:
        self._write = writes(logger)
        self._control = control or LogControl()

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        request.exchange.at_end(self._log)
        return handler(request)

    def _log(self, exchange: Exchange) -> None:
        if not self._control.wants_access(exchange.status, complete=exchange.well):
            return
        started = exchange.started_at
        principal, usage, end = exchange.principal, exchange.usage, exchange.end_reason
        trace, first = exchange.trace, exchange.first_byte_at
        first_token = exchange.first_token_at
        # Check optional fields one by one: building a dict of all fields and then one without the
        # None values takes as long as everything else here.
        fields: dict[str, object] = {"request_id": exchange.request_id}
        if trace is not None:
            fields["trace_id"] = trace.id
        fields["client"] = exchange.client_ip
        fields["method"] = exchange.method
        fields["path"] = exchange.path
        if exchange.route is not None:
            fields["route"] = exchange.route
        if exchange.voucher is not None:
            fields["bridge"] = exchange.voucher.request_id
        if principal is not None:
            fields["subject"] = principal.subject
            if principal.tenant is not None:
                fields["tenant"] = principal.tenant
        if exchange.model is not None:
            fields["model"] = exchange.model
        if exchange.continued:
            fields["continued"] = exchange.continued
        if exchange.served is not None:
            fields["served"] = exchange.served
        if exchange.fallbacks:
            fields["fallbacks"] = exchange.fallbacks
        if exchange.upstream is not None:
            fields["upstream"] = exchange.upstream
        if exchange.endpoint is not None:
            fields["endpoint"] = exchange.endpoint
        if exchange.attempts > 1:
            fields["attempts"] = exchange.attempts
        if exchange.status is not None:
            fields["status"] = exchange.status
        if exchange.error_code is not None:
            fields["error"] = exchange.error_code
        if exchange.reason is not None:
            fields["reason"] = exchange.reason
        if exchange.limit is not None:
            fields["limit"] = exchange.limit
        if exchange.retry_after_s is not None:
            fields["retry_after_s"] = exchange.retry_after_s
        if end is not None:
            fields["end"] = end._value_  # the enum's `value` is a property, ten times as slow
        fields["bytes_in"] = exchange.bytes_in
        fields["bytes_out"] = exchange.bytes_out
        if exchange.bytes_saved:
            fields["bytes_saved"] = exchange.bytes_saved
        if usage is not None:
            fields["tokens_in"] = usage.input
            fields["tokens_out"] = usage.output
        if exchange.queue_position is not None:
            fields["queue_position"] = exchange.queue_position
        if exchange.queue_s is not None:
            fields["queue_ms"] = _ms(exchange.queue_s)
        if first is not None:
            fields["first_byte_ms"] = _ms(first - started)
        if first_token is not None:
            fields["ttft_ms"] = _ms(first_token - started)
        fields["duration_ms"] = _ms(time.perf_counter() - started)
        tally = exchange.tally
        if tally is not None:
            fields["messages_in"] = tally.messages_in
            fields["messages_out"] = tally.messages_out
            if tally.close_code is not None:
                fields["close_code"] = tally.close_code
            if tally.closed_by is not None:
                fields["closed_by"] = tally.closed_by.value
        self._write("info", "request", fields)


def _ms(seconds: float) -> float:
    """Convert to milliseconds, rounded to the microsecond. (`round` is slower: it formats text.)"""
    return int(seconds * 1e6 + 0.5) / 1e3
