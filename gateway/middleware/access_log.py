"""The access log: one line for each request, written when it has ended."""

from __future__ import annotations

import time
from collections.abc import Awaitable

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.exchange import Exchange, GatewayRequest
from gateway.routing import Handler
from gateway.telemetry.logs.control import LogControl


class AccessLog:
    """Logs `request` lines. Fields that are not known are left out."""

    def __init__(self, logger: FilteringBoundLogger, control: LogControl | None = None) -> None:
        self._info = logger.info
        self._control = control or LogControl()

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        request.exchange.at_end(self._log)
        return handler(request)

    def _log(self, exchange: Exchange) -> None:
        if not self._control.wants_access(exchange.status, complete=exchange.well):
            return
        started = exchange.started_at
        principal = exchange.principal
        first = exchange.first_byte_at
        fields = {
            "request_id": exchange.request_id,
            "trace_id": exchange.trace and exchange.trace.id,
            "client": exchange.client_ip,
            "method": exchange.method,
            "path": exchange.path,
            "route": exchange.route,
            "bridge": exchange.voucher and exchange.voucher.request_id,
            "subject": principal and principal.subject,
            "tenant": principal and principal.tenant,
            "model": exchange.model,
            "continued": exchange.continued or None,
            "served": exchange.served,
            "fallbacks": exchange.fallbacks or None,
            "upstream": exchange.upstream,
            "endpoint": exchange.endpoint,
            "attempts": exchange.attempts if exchange.attempts > 1 else None,
            "status": exchange.status,
            "error": exchange.error_code,
            "reason": exchange.reason,
            "end": exchange.end_reason,
            "bytes_in": exchange.bytes_in,
            "bytes_out": exchange.bytes_out,
            "bytes_saved": exchange.bytes_saved or None,
            "tokens_in": exchange.usage and exchange.usage.input,
            "tokens_out": exchange.usage and exchange.usage.output,
            "queue_position": exchange.queue_position,
            "queue_ms": exchange.queue_s and round(exchange.queue_s * 1e3, 3),
            "ttft_ms": first and round((first - started) * 1e3, 3),
            "duration_ms": round((time.perf_counter() - started) * 1e3, 3),
        }
        tally = exchange.tally
        if tally is not None:
            fields |= {
                "messages_in": tally.messages_in,
                "messages_out": tally.messages_out,
                "close_code": tally.close_code,
                "closed_by": tally.closed_by and tally.closed_by.value,
            }
        self._info("request", **{k: v for k, v in fields.items() if v is not None})
