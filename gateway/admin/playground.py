"""Proxy from the playground page to the public listener.

The page has the origin of the admin listener, and the API has another. A proxy needs no CORS on the
routes, and shows what any client would see, with the same authentication and limits. The operator's
cookie and token are not forwarded.

A backend's body is data for the page's `fetch`, and never a document, script or worker of this
origin. Other uses are refused, and the API's headers (see `api.py`) keep a body that is opened in
the browser from running scripts.

If the gateway cuts a response, this proxy cuts it too, after it has sent everything that came: the
last event says why. aiohttp's client would drop the bytes not read by then, so this module reads
the connection itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from urllib.parse import urlsplit

import httptools
from aiohttp import web

from gateway.admin.own_listener import own_listener

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
"""Request headers that are forwarded."""
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
"""Response headers that are forwarded. Other headers of a backend would affect the admin origin:
cookies, policies, redirects, the scope of a service worker.
"""
PASSED_ON = "X-From-Gateway"
"""Header that marks responses of the gateway; those of the admin listener itself do not have it."""
_LOOK_S = 0.1
_LAST_WORDS_S = 0.2
_READ_BYTES = 64 * 1024


class Playground:
    """Proxy that forwards requests to one gateway."""

    def __init__(self, url: str) -> None:
        """Create the proxy. `url` is that of the public listener."""
        parts = urlsplit(url)
        self._authority = parts.netloc
        self._host, self._port = parts.hostname, parts.port
        self._tls = own_listener() if parts.scheme == "https" else None

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of the proxy."""
        return [web.route(method, "/play/api/{path:.*}", self.serve) for method in _METHODS]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Return the gateway's response, streamed as it arrives. If the page leaves, close the
        connection to the gateway. Raise HTTPForbidden or HTTPBadGateway.
        """
        if request.headers.get("Sec-Fetch-Dest", "empty") != "empty":
            raise web.HTTPForbidden(reason="only for fetch() of the playground")
        asked = self._head(request, body := await request.read()) + body
        me = asyncio.current_task()
        assert me is not None
        watching = asyncio.create_task(_cancel_when_gone(request, me))
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
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


class _GatewayResponse:
    """Response as parsed by httptools."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.body = bytearray()
        """Bytes of the body that have arrived and were not forwarded yet."""
        self.complete = False

    @property
    def has_head(self) -> bool:
        """True if status and headers have arrived; interim responses do not count."""
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
    answer = _GatewayResponse()
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
        # When a page's stream fails, it drops the bytes that were not read (Streams Standard,
        # ReadableByteStreamControllerError). Give the page time to read the last event.
        await asyncio.sleep(_LAST_WORDS_S)
        if request.transport is not None:
            request.transport.close()
    return response


def _begun(answer: _GatewayResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status)
    for name, value in answer.headers:
        if name.lower() in _RETURNED:
            response.headers.add(name, value)
    response.headers[PASSED_ON] = "1"
    return response


async def _cancel_when_gone(request: web.Request, serving: asyncio.Task[object]) -> None:
    """Cancel `serving` when the page leaves, without waiting for the next write to fail."""
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_LOOK_S)
    serving.cancel()
