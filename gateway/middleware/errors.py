"""Error mapping: the one place where an error becomes a response in the route's dialect, or, after
the head was sent early, the last event of a stream.
"""

from __future__ import annotations

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.dialects import Dialect
from gateway.errors import GatewayError, RequestError
from gateway.exchange import Commit, Exchange, GatewayRequest
from gateway.proxy import in_stream
from gateway.routing import Handler


class ErrorMapping:
    """Middleware that turns exceptions into responses. An unexpected exception is logged, never
    shown.
    """

    def __init__(self, dialect: Dialect, logger: FilteringBoundLogger) -> None:
        self._dialect = dialect
        self._logger = logger

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        exchange = request.exchange
        response: web.StreamResponse
        try:
            response = await handler(request)
        except GatewayError as error:
            response = self.response(error, exchange)
        except web.HTTPException as exc:
            # A plug-in may raise this to answer. Its text is meant for clients; its format is
            # replaced.
            if exc.status < 400:
                response = exc
            else:
                shape = GatewayError if exc.status >= 500 else RequestError
                mapped = shape(exc.text or exc.reason, code=f"http_{exc.status}")
                mapped.status = exc.status
                response = self.response(mapped, exchange)
        except Exception:
            self._logger.exception("unhandled", request_id=exchange.request_id)
            response = self.response(GatewayError(), exchange)
        early = exchange.early
        if early is not None:
            if exchange.commit is Commit.EARLY:
                response = await in_stream.joined(response, self._dialect, exchange)
            early.close()
        return response

    def response(self, error: GatewayError, exchange: Exchange) -> web.StreamResponse:
        """Return the response for an error, and record the error in the exchange for the log."""
        if exchange.commit is Commit.EARLY:
            return in_stream.failed(error, self._dialect, exchange)
        exchange.failed(error)
        return web.Response(
            status=error.status,
            body=self._dialect.error_body(error, exchange.request_id),
            headers=error.headers,
            content_type="application/json",
        )
