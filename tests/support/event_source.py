"""EventSource server that builds redirects from the Host header, as web frameworks do."""

from __future__ import annotations

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.support.block import AsyncBlock

STREAM = b"id: 1\ndata: here\n\n"


class EventSourceServer(AsyncBlock):
    """Server with a redirect at `/redirect/STATUS/FORM` to `/stream`, which sends one event."""

    def __init__(self) -> None:
        self.hosts: list[str] = []
        """Host header of every request."""
        app = web.Application()
        app.router.add_get("/{base:(?:base/)?}redirect/{status}/{form}", self._redirect)
        app.router.add_get("/{base:(?:base/)?}stream", self._stream)
        self._server = TestServer(app)

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self._server.port}"

    async def _enter(self) -> None:
        await self._server.start_server()

    async def _leave(self, error: BaseException | None) -> None:
        await self._server.close()

    async def _redirect(self, request: web.Request) -> web.Response:
        self.hosts.append(request.host)
        base = request.match_info["base"]
        location = {
            "absolute": f"http://{request.host}/{base}stream?n=1",
            "other-scheme": f"https://{request.host}/{base}stream?n=1",
            "no-scheme": f"//{request.host}/{base}stream?n=1",
            "own-address": f"{self.url}/{base}stream?n=1",
            "host-relative": f"/{base}stream?n=1",
            "path-relative": "../../stream?n=1",
            "elsewhere": "https://elsewhere.example/stream",
        }[request.match_info["form"]]
        return web.Response(
            status=int(request.match_info["status"]),
            headers={"Location": location, "Content-Location": location},
        )

    async def _stream(self, request: web.Request) -> web.Response:
        self.hosts.append(request.host)
        assert request.query == {"n": "1"}
        return web.Response(body=STREAM, content_type="text/event-stream")
