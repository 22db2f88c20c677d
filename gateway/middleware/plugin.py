"""Plug-ins: middleware from outside, by its dotted name.

Either an async function with aiohttp's middleware signature, which takes no options; or a class
with an `Options` pydantic model, made with the validated options and called as a middleware:

    class Stamp:
        class Options(BaseModel):
            header: str

        def __init__(self, options: Options) -> None: ...

        async def __call__(self, request, handler): ...
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.hdrs import CONTENT_LENGTH
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import BaseModel, ValidationError

from gateway.aiohttp_adaptor import RawRequestMessage, aiohttp_request, arrived_body
from gateway.config.wording import in_words
from gateway.exchange import Exchange
from gateway.request import Request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Middleware(Protocol):
    """aiohttp's middleware signature."""

    def __call__(self, request: PluginRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Answer the request, or pass it to `handler` and return the response."""


class PluginRequest(web.Request):
    """aiohttp's request, for plug-ins, with the exchange it belongs to."""

    exchange: Exchange
    original: Request

    async def read(self) -> bytes:
        """Return the whole body, which what comes behind the plug-in will find as well."""
        self.original.received = body = await super().read()
        return body


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
        # Plug-ins may read the body as a stream, and look at its length.
        request.content = arrived_body(request.client, request.arrived)
        message = _with_length(message, len(request.arrived))
        request.arrived = None
    made = aiohttp_request(
        PluginRequest, message, request.content, request.client, request.received
    )
    made.exchange = request.exchange
    made.original = request
    return made


def _with_length(message: RawRequestMessage, length: int) -> RawRequestMessage:
    """Return a head with the Content-Length of this request instead of an earlier one's."""
    if CONTENT_LENGTH not in message.headers:
        return message
    headers = CIMultiDict(message.headers)
    headers[CONTENT_LENGTH] = str(length)
    raw = tuple(
        (name, b"%d" % length if name.lower() == b"content-length" else value)
        for name, value in message.raw_headers
    )
    return message._replace(headers=CIMultiDictProxy(headers), raw_headers=raw)


class PluginError(Exception):
    """Plug-in cannot be used. `message` says why, `path` which of its configuration keys is
    meant.
    """

    def __init__(self, message: str, path: tuple[str | int, ...] = ("use",)) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def load_plugin(name: str, options: Mapping[str, Any]) -> Plugin:
    """Return the policy for the middleware that a dotted name refers to. Raise PluginError."""
    module_name, _, attribute = name.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as exc:  # code of the plug-in may raise anything
        raise PluginError(f"cannot import {module_name}: {_told(exc)}") from exc
    found = getattr(module, attribute, None)
    if found is None:
        raise PluginError(f"{module_name} has no {attribute}")
    if inspect.iscoroutinefunction(found):
        if options:
            raise PluginError("a function takes no options", ("options",))
        return Plugin(cast(Middleware, found))
    model = getattr(found, "Options", None)
    if not (inspect.isclass(found) and inspect.isclass(model) and issubclass(model, BaseModel)):
        raise PluginError("neither an async function nor a class with an Options model")
    if not inspect.iscoroutinefunction(inspect.getattr_static(found, "__call__", None)):
        raise PluginError("its instances have no async __call__(request, handler)")
    try:
        parsed = model.model_validate(dict(options))
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        message = in_words(first["type"], first["msg"], first.get("ctx", {}))
        raise PluginError(message, ("options", *first["loc"])) from exc
    try:
        return Plugin(cast(Middleware, cast(Any, found)(parsed)))
    except Exception as exc:
        raise PluginError(f"cannot be made: {_told(exc)}", ("options",)) from exc


def _told(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"
