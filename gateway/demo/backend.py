"""Demo backend as a server: all dialects on one port."""

from __future__ import annotations

import socket
from dataclasses import asdict

from aiohttp import ClientConnectionResetError, web
from aiohttp.typedefs import Handler

from gateway.demo import anthropic, audio, images, ollama, openai, responses
from gateway.demo.generation import PACE_S, STATS, DemoError, Stats

_APIS = (openai, responses, audio, images, anthropic, ollama)
_BODY_CAP_BYTES = 128 * 1024 * 1024
_SHUTDOWN_S = 0.1


def build(*, pace_s: float = 0.02) -> web.Application:
    """Return the application. `pace_s` is the delay between two tokens in seconds."""
    application = web.Application(middlewares=[_errors], client_max_size=_BODY_CAP_BYTES)
    application[PACE_S] = pace_s
    application[STATS] = Stats()
    for api in _APIS:
        application.add_routes(api.routes())
    application.add_routes([web.get("/health", _health), web.get("/demo/stats", _stats)])
    return application


class DemoBackend:
    """Demo application with a listening socket."""

    def __init__(self, *, pace_s: float = 0.02) -> None:
        self._application = build(pace_s=pace_s)
        self._runner = web.AppRunner(
            self._application,
            access_log=None,
            handler_cancellation=True,  # stop the generation when its client disconnects
            shutdown_timeout=_SHUTDOWN_S,
        )
        self._host = ""
        self.port = 0

    @property
    def url(self) -> str:
        """Base URL of the backend."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def stats(self) -> Stats:
        """Counts since the backend started."""
        return self._application[STATS]

    async def start(
        self,
        host: str | None = "127.0.0.1",
        port: int = 0,
        *,
        listening: socket.socket | None = None,
    ) -> None:
        """Start listening, on `listening` if it is given.

        Raise OSError if the address is in use.
        """
        await self._runner.setup()
        site: web.BaseSite = web.TCPSite(self._runner, host, port)
        if listening is not None:
            site = web.SockSite(self._runner, listening)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._host = host or "127.0.0.1"
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections and stop running generations."""
        await self._runner.cleanup()


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except DemoError as error:
        if request.path.startswith("/api/"):
            return ollama.refusal(error)
        if request.path.startswith("/v1/messages"):
            return anthropic.refusal(error)
        return openai.refusal(error)
    except ClientConnectionResetError:
        return web.Response()  # the client has left: aiohttp notices when it sends this


async def _health(request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "ok"})


async def _stats(request: web.Request) -> web.StreamResponse:
    return web.json_response(asdict(request.app[STATS]))
