"""aiohttp's server for the admin listener, with the gateway's own answers to malformed requests.

aiohttp answers a malformed request before any application sees it: in text that repeats the bytes.
"""

from __future__ import annotations

from aiohttp import web

from gateway.admin.answer import SERVER, answer
from gateway.aiohttp_adaptor import ConnectionRunner


class _Connection(web.RequestHandler):
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a malformed request, or to one whose handler failed."""
        super().handle_error(request, status, exc, message)  # which logs it
        text = "the request is not valid HTTP/1.1" if status < 500 else "see the log"
        response = answer({"error": text}, status)
        response.force_close()
        response.headers["Server"] = SERVER
        return response


class AdminRunner(ConnectionRunner):
    """Runner whose connections answer malformed requests with the gateway's own error."""

    connection = _Connection
