"""The playground's way to the gateway: what its page asks is asked of the public listener.

The page is of the admin listener's origin, and the API is of another. Passing requests on needs no
CORS on the routes, and shows what any client would see: the same door, the same limits. The
operator's own cookie and token stay here.

A backend's body is data for the page's `fetch`, never a document, script or worker of this origin.
Other uses are refused, and the API's headers (see `api.py`) keep what is opened from running.

An answer that was cut off is cut off here too, after all that came of it: its last event says why.
aiohttp's client drops what it has not handed out by then, so the connection is read here.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from urllib.parse import urlsplit

import httptools
from aiohttp import web

_METHODS = ("GET", "POST", "DELETE")
_SENT = (
    "Accept",
    "Anthropic-Version",
    "Authorization",
    "Content-Type",
    "Last-Event-ID",
    "X-Demo-Fault",
    "X-On-Disconnect",
)
"""Request headers that are passed on."""
_RETURNED = frozenset(
    (
        "content-encoding",
        "content-type",
        "ratelimit",
        "ratelimit-policy",
        "request-id",
        "retry-after",
        "x-request-id",
        "x-resume",
        "x-stream-id",
    )
)
"""Response headers that are passed on. A backend's others would act on the admin origin: cookies,
policies, redirects, the scope of a service worker.
"""
PASSED_ON = "X-From-Gateway"
"""Tells the page whose answer it is: the gateway's, or the admin listener's own."""
_LOOK_S = 0.1
_LAST_WORDS_S = 0.2
_READ_BYTES = 64 * 1024


class Playground:
    """Passes requests on to one gateway."""

    def __init__(self, url: str) -> None:
        """`url` is the public listener's."""
        parts = urlsplit(url)
        self._authority = parts.netloc
        self._host, self._port = parts.hostname, parts.port

    def routes(self) -> list[web.RouteDef]:
        """Where it is."""
        return [web.route(method, "/play/api/{path:.*}", self.serve) for method in _METHODS]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The gateway's answer, as it comes. When the page leaves, so does its client."""
        if request.headers.get("Sec-Fetch-Dest", "empty") != "empty":
            raise web.HTTPForbidden(reason="only for fetch() of the playground")
        asked = self._head(request, body := await request.read()) + body
        me = asyncio.current_task()
        assert me is not None
        watching = asyncio.create_task(_cancel_when_gone(request, me))
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            with contextlib.closing(writer):
                writer.write(asked)
                return await _pass_on(request, reader)
        except (OSError, httptools.HttpParserError) as exc:
            raise web.HTTPBadGateway(reason="the gateway does not answer") from exc
        finally:
            watching.cancel()

    def _head(self, request: web.Request, body: bytes) -> bytes:
        target = request.raw_path.removeprefix("/play/api") or "/"
        lines = [f"{request.method} {target} HTTP/1.1", f"Host: {self._authority}"]
        lines += [f"{name}: {request.headers[name]}" for name in _SENT if name in request.headers]
        lines += ["Connection: close", f"Content-Length: {len(body)}", "", ""]
        return "\r\n".join(lines).encode("utf-8", "surrogateescape")


class _Answer:
    """What httptools tells of a response."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()
        """What has come and was not taken yet."""
        self.complete = False

    @property
    def has_head(self) -> bool:
        """Whether its status and headers are there; those of interim responses do not count."""
        return self.status >= HTTPStatus.OK

    def on_message_begin(self) -> None:
        self.headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.status = self.parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = self.has_head


async def _pass_on(request: web.Request, reader: asyncio.StreamReader) -> web.StreamResponse:
    answer = _Answer()
    response: web.StreamResponse | None = None
    while not answer.complete and (data := await reader.read(_READ_BYTES)):
        answer.parser.feed_data(data)
        if response is None and answer.has_head:
            response = _begun(answer)
            await response.prepare(request)
        if response is not None and answer.body:
            data = bytes(answer.body)
            answer.body.clear()
            try:
                await response.write(data)
            except ConnectionResetError:
                return response  # the page has left
    if response is None:
        raise ConnectionResetError("the gateway closed the connection")
    if not answer.complete:
        # A page's stream that fails drops what was not read of it (Streams Standard,
        # ReadableByteStreamControllerError); the last event is to be read.
        await asyncio.sleep(_LAST_WORDS_S)
        if request.transport is not None:
            request.transport.close()
    return response


def _begun(answer: _Answer) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for name, value in answer.headers:
        if name.lower() in _RETURNED:
            response.headers.add(name, value)
    response.headers[PASSED_ON] = "1"
    return response


async def _cancel_when_gone(request: web.Request, serving: asyncio.Task[object]) -> None:
    """A page that leaves while nothing is sent would go unnoticed until something is."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    serving.cancel()
