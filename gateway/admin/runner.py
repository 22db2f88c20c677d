"""aiohttp's server for the admin listener, with the gateway's own answers to malformed requests.

aiohttp answers a malformed request before any application sees it: in text that repeats the bytes.
Its classes offer no setting for that, so the private `_make_server` and `_kwargs` are used here.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from gateway.admin.answer import SERVER, answer


class AdminRunner(web.AppRunner):
    """Runner whose connections answer faults by themselves."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        return server


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(RequestHandler):
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
