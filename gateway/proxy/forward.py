"""The end of every chain: decide the model, pick an endpoint, send, hand back the response.

A request is sent again only where nothing can happen twice: when no connection was made, or
when an idempotent one met a pooled connection that closed before answering.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from aiohttp import web

from gateway.auth.principal import Principal
from gateway.dialects import Dialect
from gateway.errors import (
    GatewayError,
    ModelNotFound,
    RequestError,
    UpstreamBusy,
    UpstreamConnectFailed,
    UpstreamReset,
)
from gateway.exchange import Exchange, GatewayRequest
from gateway.headers import CREDENTIALS, FORWARDING, HOP_BY_HOP, IDENTITY, OURS, connection_tokens
from gateway.proxy import body as bodies
from gateway.proxy.model_name import read_model, rename_model
from gateway.proxy.multipart import boundary_of, find_model_field
from gateway.proxy.relay import RelayedResponse
from gateway.upstream.connection import UpstreamConnection, UpstreamResponse
from gateway.upstream.upstream import Endpoint, Upstream

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_ALWAYS_DROPPED = HOP_BY_HOP | FORWARDING | IDENTITY | OURS
_CONNECTION_OPTIONS = {b"close", b"keep-alive", b"upgrade", b"te"}


class Target:
    """An upstream as one route uses it, under one model name."""

    __slots__ = ("dropped", "rename_to", "scopes", "upstream")

    def __init__(
        self,
        upstream: Upstream,
        rename_to: str | None,
        *,
        anonymous: bool,
        identity: frozenset[bytes] = frozenset(),
        scopes: Iterable[str] = (),
    ) -> None:
        """`identity` are lower-cased headers that say who the caller is: ours to send, not the
        client's. `scopes` are those a caller needs for it.
        """
        self.upstream = upstream
        self.scopes = frozenset(scopes)
        self.rename_to = None if rename_to is None else orjson.dumps(rename_to)
        # A caller nobody authenticated may bring the upstream's credential itself, unless the
        # upstream has one of ours.
        keeps_credential = anonymous and not upstream.replaced & CREDENTIALS
        self.dropped = (
            _ALWAYS_DROPPED
            | identity
            | upstream.replaced
            | (frozenset() if keeps_credential else CREDENTIALS)
        )

    def serves(self, name: str, principal: Principal | None) -> bool:
        """Whether a caller may use it under this name."""
        if principal is None:
            return not self.scopes
        return self.scopes <= principal.scopes and (
            principal.models is None or name in principal.models
        )


@dataclass(frozen=True, slots=True)
class ForwardOptions:
    """What a route says about forwarding. Sizes in bytes, times in seconds."""

    models: Mapping[str, Target]
    fallback: Target | None
    """Where a request goes that names no model."""
    models_path: str
    """The canonical path at which the models are listed, and below which each is described."""
    strip: int
    """How many characters of the path belong to the route and are not forwarded."""
    body_cap_bytes: int
    body_silence_s: float
    dialect: Dialect
    hide_server: bool


class Forward:
    """Serves one route."""

    def __init__(self, options: ForwardOptions) -> None:
        self._options = options

    async def __call__(self, request: GatewayRequest) -> web.StreamResponse:
        """Raise GatewayError where there is no response to pass on."""
        options = self._options
        exchange = request.exchange
        if request.body_exists:
            bodies.admit(request, options.body_cap_bytes)
        if not options.models:
            target, body = options.fallback, None
        elif request.method in ("GET", "HEAD") and (
            (exchange.path + "/").startswith(options.models_path + "/")
        ):
            return self._models(exchange)
        else:
            target, body = await self._by_model(request)
        if target is None:
            raise RequestError(
                'The body has to name a model: {"model": ...}.',
                code="model_required",
                param="model",
            )
        exchange.upstream = target.upstream.name
        if body is None and request.content.is_eof() and request.body_exists:
            # It is here already: send it with the head, in one write.
            body = await bodies.whole(request, options.body_cap_bytes, options.body_silence_s)
        response = await self._send(request, target, body)
        return RelayedResponse(response, exchange, options.dialect, hide_server=options.hide_server)

    def _models(self, exchange: Exchange) -> web.Response:
        """What the caller may use: all of it, or one model. Nothing of it is the upstream's."""
        options = self._options
        if exchange.path.rstrip("/") == options.models_path:
            names = [
                name
                for name, target in options.models.items()
                if target.serves(name, exchange.principal)
            ]
            body = options.dialect.model_list(names)
        else:
            name = exchange.path.removeprefix(options.models_path + "/")
            target = options.models.get(name)
            if target is None or not target.serves(name, exchange.principal):
                raise ModelNotFound
            body = options.dialect.model_entry(name)
        return web.Response(body=body, content_type="application/json")

    # -- which model -----------------------------------------------------------------------

    async def _by_model(self, request: GatewayRequest) -> tuple[Target | None, bytes | None]:
        """The target of the model the body names, and the body as it is to be sent, if read."""
        options = self._options
        if not request.body_exists:
            return options.fallback, None
        content_type = request.headers.get("Content-Type", "")
        kind = content_type.lower()
        if kind.startswith("multipart/form-data"):
            return await self._by_form(request, content_type)
        body = await bodies.whole(request, options.body_cap_bytes, options.body_silence_s)
        if not body.lstrip().startswith(b"{") and not _is_json(kind):
            # Audio and the like. Whatever could be read as JSON is, whatever it calls itself:
            # some servers do not look at the content type either.
            return options.fallback, body
        name = read_model(body)
        if name is None:
            return options.fallback, body
        target = self._target(request.exchange, name)
        if target.rename_to is not None:
            body = rename_model(body, target.rename_to)
        return target, body

    async def _by_form(self, request: GatewayRequest, content_type: str) -> tuple[Target, bytes]:
        # The model may stand behind the file, so up to the whole body is held here.
        options = self._options
        body = await bodies.whole(request, options.body_cap_bytes, options.body_silence_s)
        start, end = find_model_field(body, boundary_of(content_type))
        target = self._target(request.exchange, body[start:end].decode("utf-8", "replace"))
        if target.rename_to is not None:
            body = b"".join((body[:start], orjson.loads(target.rename_to).encode(), body[end:]))
        return target, body

    def _target(self, exchange: Exchange, name: str) -> Target:
        target = self._options.models.get(name)
        if target is None or not target.serves(name, exchange.principal):
            # One answer for both: which models exist is nobody's business who may not use them.
            raise ModelNotFound
        exchange.model = name
        return target

    # -- sending ---------------------------------------------------------------------------

    async def _send(
        self, request: GatewayRequest, target: Target, body: bytes | None
    ) -> UpstreamResponse:
        upstream = target.upstream
        tried: list[Endpoint] = []
        failure: GatewayError | None = None
        fresh = False
        while (endpoint := upstream.pick(tried)) is not None:
            request.exchange.endpoint = endpoint.url
            connection = None if fresh else endpoint.pool.take_idle()
            if connection is None:
                try:
                    connection = await endpoint.pool.connect()
                except (UpstreamConnectFailed, UpstreamBusy) as exc:
                    failure = exc
                    tried.append(endpoint)
                    continue
            reused = connection.reused
            try:
                return await self._exchange(request, target, endpoint, connection, body)
            except UpstreamReset:
                # It may have been closing as we picked it. Whether it saw the request cannot
                # be known, so only what may safely be repeated is.
                streamed = body is None and request.body_exists
                if not reused or streamed or request.method not in _IDEMPOTENT:
                    raise
                fresh = True
        assert failure is not None
        raise failure

    async def _exchange(
        self,
        request: GatewayRequest,
        target: Target,
        endpoint: Endpoint,
        connection: UpstreamConnection,
        body: bytes | None,
    ) -> UpstreamResponse:
        """Send on this connection and wait for the response head."""
        timeouts = target.upstream.timeouts
        streamed = body is None and request.body_exists
        head = self._request_head(request, target, endpoint, body)
        answer = connection.send(
            head + body if body else head,
            last=not streamed,
            head_only=request.method == "HEAD",
            first_byte_s=timeouts.first_byte_s,
            idle_s=timeouts.idle_s,
        )
        exchange = request.exchange
        if streamed:
            upload = asyncio.create_task(self._upload(request, connection, timeouts.first_byte_s))
            # It may go on beside the response; it never outlives the exchange.
            exchange.at_end(lambda _: _cancel(upload))
        try:
            response = await answer
        except asyncio.CancelledError:
            connection.abort()
            raise
        exchange.at_end(lambda _: response.abort())
        return response

    async def _upload(
        self, request: GatewayRequest, connection: UpstreamConnection, first_byte_s: float
    ) -> None:
        options = self._options
        chunked = request.content_length is None
        try:
            async for piece in bodies.pieces(
                request, options.body_cap_bytes, options.body_silence_s
            ):
                if chunked:
                    piece = b"%x\r\n%b\r\n" % (len(piece), piece)
                connection.send_body(piece)
                await connection.drain()
        except GatewayError as exc:
            connection.fail(exc)
        else:
            if chunked:
                connection.send_body(b"0\r\n\r\n")
            connection.body_sent(first_byte_s)

    def _request_head(
        self, request: GatewayRequest, target: Target, endpoint: Endpoint, body: bytes | None
    ) -> bytes:
        exchange = request.exchange
        dropped = target.dropped
        path = exchange.path[self._options.strip :] if self._options.strip else exchange.path
        if exchange.query:
            path = f"{path}?{exchange.query}"
        parts = [
            b"%b %b%b HTTP/1.1\r\n%b%b%bX-Request-ID: %b\r\n"
            % (
                request.method.encode(),
                endpoint.base,
                path.encode("latin-1"),
                endpoint.fixed_lines,
                exchange.forwarded,
                exchange.principal.headers if exchange.principal is not None else b"",
                exchange.request_id.encode(),
            )
        ]
        nominated: set[bytes] = set()
        for name, value in request.raw_headers:
            lowered = name.lower()
            if lowered in dropped:
                if lowered == b"connection":
                    nominated |= connection_tokens(value)
            elif b"_" not in name:
                # Names with an underscore pass for the same name with a hyphen in CGI and WSGI.
                parts.append(b"%b: %b\r\n" % (name, value))
        if not nominated <= _CONNECTION_OPTIONS:
            parts[1:] = [p for p in parts[1:] if p[: p.index(b":")].lower() not in nominated]
        if body is not None:
            parts.append(b"Content-Length: %d\r\n\r\n" % len(body))
        elif request.body_exists and request.content_length is None:
            parts.append(b"Transfer-Encoding: chunked\r\n\r\n")
        elif request.content_length is not None:
            parts.append(b"Content-Length: %d\r\n\r\n" % request.content_length)
        else:
            parts.append(b"\r\n")
        return b"".join(parts)


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip()
    return media_type.endswith("json") or not media_type


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
