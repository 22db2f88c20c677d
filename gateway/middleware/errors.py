"""The one place where an error becomes a response, in the shape of the route's dialect."""

from __future__ import annotations

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from gateway.dialects import Dialect
from gateway.errors import GatewayError, RequestError
from gateway.exchange import Exchange, GatewayRequest
from gateway.routing import Handler


class ErrorMapping:
    """Turns what handlers raise into responses. An unexpected exception is logged, never shown."""

    def __init__(self, dialect: Dialect, logger: FilteringBoundLogger) -> None:
        self._dialect = dialect
        self._logger = logger

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except GatewayError as error:
            return self.response(error, request.exchange)
        except web.HTTPException as exc:
            # A plug-in's way of answering. Its text is meant for clients, its shape is not ours.
            if exc.status < 400:
                return exc
            shape = GatewayError if exc.status >= 500 else RequestError
            mapped = shape(exc.text or exc.reason, code=f"http_{exc.status}")
            mapped.status = exc.status
            return self.response(mapped, request.exchange)
        except Exception:
            self._logger.exception("unhandled", request_id=request.exchange.request_id)
            return self.response(GatewayError(), request.exchange)

    def response(self, error: GatewayError, exchange: Exchange) -> web.Response:
        """The response for an error; the exchange remembers it for the log."""
        exchange.error_code = error.code
        exchange.reason = error.reason
        return web.Response(
            status=error.status,
            body=self._dialect.error_body(error, exchange.request_id),
            headers=error.headers,
            content_type="application/json",
        )
