"""Error mapping: the one place where an error becomes a response in the route's dialect, or, after
the head was sent early, the last event of a stream.
"""

from __future__ import annotations

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.dialects import Dialect
from gateway.errors import GatewayError, RequestError
from gateway.exchange import Exchange
from gateway.outcome import Commit
from gateway.pipeline import Finished
from gateway.proxy import in_stream
from gateway.request import Request


class ErrorMapping:
    """Policy that turns exceptions into responses. An unexpected exception is logged, never
    shown.
    """

    def __init__(self, dialect: Dialect, logger: FilteringBoundLogger) -> None:
        self._dialect = dialect
        self._logger = logger

    def response(self, error: Exception, request: Request) -> web.StreamResponse:
        """Return the response for an error, and record the error in the exchange for the log."""
        exchange = request.exchange
        if isinstance(error, GatewayError):
            return self._response(error, exchange)
        if isinstance(error, web.HTTPException):
            # A plug-in may raise this to answer. Its text is meant for clients; its format is
            # replaced.
            if error.status < 400:
                return error
            shape = GatewayError if error.status >= 500 else RequestError
            mapped = shape(error.text or error.reason, code=f"http_{error.status}")
            mapped.status = error.status
            return self._response(mapped, exchange)
        self._logger.error("unhandled", request_id=exchange.request_id, exc_info=error)
        return self._response(GatewayError(), exchange)

    def joined(self, request: Request, response: web.StreamResponse) -> Finished:
        """Return the response to send in a stream that was opened early."""
        if in_stream.joins(response):
            return response
        return in_stream.joined(response, self._dialect, request.exchange)  # type: ignore[return-value]

    def _response(self, error: GatewayError, exchange: Exchange) -> web.StreamResponse:
        if exchange.commit is Commit.EARLY:
            return in_stream.failed(error, self._dialect, exchange)
        exchange.failed(error)
        return web.Response(
            status=error.status,
            body=self._dialect.error_body(error, exchange.request_id),
            headers=error.headers,
            content_type="application/json",
        )
