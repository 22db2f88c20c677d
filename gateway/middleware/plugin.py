"""Plug-ins: middleware of users, found by its dotted name.

Either an async function with aiohttp's middleware signature, which takes no options; or a class
with an `Options` pydantic model, made with the validated options and called as a middleware:

class Stamp: class Options(BaseModel): header: str

def __init__(self, options: Options) -> None: ...

async def __call__(self, request, handler): ...
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.hdrs import CONTENT_LENGTH
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.aiohttp_adaptor import (
    ObservedRequest,
    RawRequestMessage,
    aiohttp_request,
    arrived_body,
)
from gateway.config.plug_in import PlugInUnusable, found_at, has_options, made_with
from gateway.exchange import Exchange
from gateway.request import Request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Middleware(Protocol):
    """aiohttp's middleware signature."""

    def __call__(self, request: PluginRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Answer the request, or pass it to `handler` and return the response."""


class PluginRequest(ObservedRequest):
    """aiohttp's request, for plug-ins, with the exchange it belongs to."""

    exchange: Exchange
    original: Request

    async def read(self) -> bytes:
        """Return the whole body, and keep it for the policies behind the plug-in."""
        self.original.received = body = await super().read()
        return body

    def answered(self, status: int) -> None:
        """Note that the head of a response of aiohttp's own is sent now."""
        self.exchange.answered(status)


class Plugin:
    """Policy that runs a plug-in around the rest of the pipeline."""

    def __init__(self, middleware: Middleware) -> None:
        self._middleware = middleware

    async def around(
        self, request: Request, handler: Callable[[Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Return the plug-in's response."""

        def rest(_: web.Request) -> Awaitable[web.StreamResponse]:
            return handler(request)

        return await self._middleware(plugin_request(request), rest)


def plugin_request(request: Request) -> PluginRequest:
    """Return aiohttp's request object for a request."""
    message = request.message
    if request.arrived is not None:
        # Plug-ins may read the body as a stream.
        request.content = arrived_body(request.client, request.arrived)
        request.arrived = None
    if request.known is not None and request.content_length is not None:
        message = _with_length(message, request.content_length)
    made = aiohttp_request(
        PluginRequest, message, request.content, request.client, request.received
    )
    made.exchange = request.exchange
    made.original = request
    return made


def _with_length(message: RawRequestMessage, length: int) -> RawRequestMessage:
    """Return a head with the Content-Length of this request instead of an earlier one's."""
    headers = CIMultiDict(message.headers)
    headers[CONTENT_LENGTH] = str(length)
    raw = tuple(
        (name, b"%d" % length if name.lower() == b"content-length" else value)
        for name, value in message.raw_headers
    )
    return message._replace(headers=CIMultiDictProxy(headers), raw_headers=raw)


def load_plugin(name: str, options: Mapping[str, Any]) -> Plugin:
    """Return the policy for the middleware that a dotted name refers to. Raise PlugInUnusable."""
    found = found_at(name)
    if inspect.iscoroutinefunction(found):
        if options:
            raise PlugInUnusable("a function takes no options", ("options",))
        return Plugin(cast(Middleware, found))
    if not (inspect.isclass(found) and has_options(found)):
        raise PlugInUnusable("neither an async function nor a class with an Options model")
    if not inspect.iscoroutinefunction(inspect.getattr_static(found, "__call__", None)):
        raise PlugInUnusable("its instances have no async __call__(request, handler)")
    return Plugin(cast(Middleware, made_with(found, options)))
