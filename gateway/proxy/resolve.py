"""Which model a request is for, and so where it goes. Answers what is asked about the models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_plus

from aiohttp import web
from multidict import istr

from gateway.auth.principal import Principal
from gateway.config.units import parse_duration
from gateway.dialects.translation.translation import Translation
from gateway.dialects.usage_tap import UsageTap
from gateway.errors import ModelNotFound, ModelUnknown, RequestError
from gateway.exchange import Exchange, GatewayRequest
from gateway.headers import (
    ACCEPT_ENCODING,
    CREDENTIALS,
    FORWARDING,
    HOP_BY_HOP,
    IDENTITY,
    OURS,
    TRACING,
    Passing,
)
from gateway.proxy import json_body
from gateway.proxy.body import BodyReader
from gateway.proxy.json_body import JsonBody
from gateway.proxy.model_access import (
    ModelAccess,
    names_for_management,
    names_in_path,
    names_in_query,
)
from gateway.proxy.model_listing import ModelListing
from gateway.proxy.multipart import boundary_of, find_model_field, model_field
from gateway.routing import Handler
from gateway.telemetry.semconv import is_operation
from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.options import Timeouts
from gateway.upstream.upstream import Upstream

_MEDIA = ("multipart/", "audio/", "image/", "video/")
_BEFORE_JSON = b" \t\r\n\0\xef\xbb\xbf\xfe\xff"
"""Whitespace, byte order marks, and the first byte of UTF-16 and UTF-32: what is JSON behind
these is JSON to some parsers, and is refused here.
"""
_ALWAYS_DROPPED = HOP_BY_HOP | FORWARDING | IDENTITY | OURS


TIMEOUT_HEADER = istr("x-request-timeout")
HintOf = Callable[[GatewayRequest, bytes | None], Hint]

NO_HINT = Hint()
ANY_MODEL = ModelAccess({})


def no_hint(request: GatewayRequest, body: bytes | None) -> Hint:
    """For balancers that look at endpoints only."""
    return NO_HINT


class Target:
    """An upstream as one route uses it, under one model name."""

    __slots__ = (
        "access",
        "continues",
        "fallbacks",
        "hint",
        "keeps_host",
        "needs_whole",
        "passing",
        "passing_to_read",
        "reads_json",
        "rename_to",
        "scopes",
        "shows_credential",
        "tells_asked",
        "timeouts",
        "translation",
        "upstream",
    )

    def __init__(
        self,
        upstream: Upstream,
        rename_to: str | None,
        *,
        timeouts: Timeouts,
        hint: HintOf = no_hint,
        fallbacks: Sequence[tuple[str, Target]] = (),
        anonymous: bool,
        identity: frozenset[bytes] = frozenset(),
        scopes: Iterable[str] = (),
        legible: bool = False,
        translation: Translation | None = None,
        traced: bool = False,
        access: ModelAccess = ANY_MODEL,
        reads_json: bool = False,
        tells_asked: bool = False,
        queued: bool = False,
    ) -> None:
        """`hint` is what the balancer is told of a request. `identity` are lower-cased headers that
        say who the caller is: ours to send, not the client's. `scopes` are those a caller needs.
        `legible`: its answers are read, so that no compressed ones are asked for. `translation` is
        between the caller's dialect and the upstream's, if they are two. `traced`: the gateway says
        itself which trace a request belongs to. `access` is what callers may name to the upstream.
        `reads_json`: its balancer looks into bodies.
        `tells_asked`: its answers pass with the model name that the caller asked for, though they
        are not translated. `queued`: requests may have to wait for their turn.
        """
        self.tells_asked = tells_asked
        self.upstream = upstream
        self.access = access
        self.timeouts = timeouts
        self.hint = hint
        self.fallbacks = tuple(fallbacks)
        """Names and targets of the models asked instead, in their order."""
        self.continues: bool = upstream.options.continues is not None or any(
            other.continues for _, other in self.fallbacks
        )
        """Whether somebody could go on with an answer that broke off."""
        self.reads_json = reads_json or self.continues
        """Whether a body has to be parsed before it is sent, as far as it is JSON."""
        self.keeps_host = upstream.options.keeps_host
        """Whether the upstream is sent the client's Host."""
        self.scopes = frozenset(scopes)
        self.rename_to = rename_to
        # A caller nobody authenticated may bring the upstream's credential itself, unless the
        # upstream has one of ours.
        keeps_credential = anonymous and not upstream.options.replaced & CREDENTIALS
        self.shows_credential = keeps_credential and translation is not None
        """Whether the caller's credential is shown to the upstream, in its own way."""
        self.needs_whole = translation is not None or queued
        """Whether a body is read whole before its request goes on, so that slow clients do not hold
        turns.
        """
        self.translation = translation
        self.passing = Passing(
            _ALWAYS_DROPPED
            | identity
            | upstream.options.replaced
            | (frozenset() if keeps_credential and translation is None else CREDENTIALS)
            | (frozenset() if translation is None else translation.dropped)
            | (ACCEPT_ENCODING if legible else frozenset())
            | (TRACING if traced else frozenset())
        )
        """What of a request's header goes on to it."""
        self.passing_to_read = self.passing.less(ACCEPT_ENCODING)
        """The same where its answer has to be legible."""

    def serves(self, name: str, principal: Principal | None) -> bool:
        """Whether a caller may use it under this name."""
        if principal is None:
            return not self.scopes
        return self.scopes <= principal.scopes and (
            principal.models is None or name in principal.models
        )


@dataclass(frozen=True, slots=True)
class ResolveOptions:
    """What a route says about models and bodies. Sizes in bytes, times in seconds."""

    models: Mapping[str, Target]
    fallback: Target | None
    """Where a request goes that names no model."""
    listing: ModelListing
    """Answers what is asked about the models."""
    reader: BodyReader
    reads_usage: bool = True
    """Whether answers of models are read for the tokens they used."""
    metered: bool = False
    """A limit of the route depends on what a body says."""


class Resolve:
    """A middleware: sets the exchange's target, model, and body where that had to be read."""

    def __init__(self, options: ResolveOptions) -> None:
        self._options = options
        self._reads = bool(options.models)

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Raise RequestError, ModelNotFound, ModelUnknown, BodyTooLarge, RequestTimeout,
        ExpectationFailed, UnsupportedCoding or Overloaded.
        """
        options = self._options
        exchange = request.exchange
        if request.body_exists:
            options.reader.check(request)
        if options.reads_usage and (self._reads or _asks_model(exchange.path)):
            exchange.tap = exchange.tap or UsageTap()
        if not self._reads:
            return self._raw(request, handler)
        if exchange.handshake is not None:
            target = self._by_query(exchange)
            if target is not None:
                self._guard(request, target)
            return self._go(request, target, handler)
        if exchange.method in ("GET", "HEAD") and options.listing.asked(exchange.path):
            return _answer(options.listing.answer(request, self._names(exchange)))
        if not request.body_exists:
            if options.fallback is not None:
                self._guard(request, options.fallback)
            return self._go(request, options.fallback, handler)
        return self._by_body(request, handler)

    def _raw(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """On a route without models: its upstream, whose answer is its own business, if the caller
        may use whatever it has.
        """
        options, target = self._options, self._options.fallback
        assert target is not None
        exchange = request.exchange
        restricted = target.access.restricts(exchange.principal)
        if not request.body_exists:
            if restricted:
                self._guard(request, target)
            return self._go(request, target, handler)
        principal = exchange.principal
        metered = options.metered or (principal is not None and principal.limits)
        if restricted or (metered and not _is_media(request)):
            return self._by_body(request, handler)
        if target.needs_whole and options.reader.here(request) is None:
            return self._held(request, target, handler)
        options.reader.ask(request)
        return self._go(request, target, handler)

    async def _held(
        self, request: GatewayRequest, target: Target, handler: Handler
    ) -> web.StreamResponse:
        """Read the body before a place in a queue is taken for it."""
        reader = self._options.reader
        if target.translation is None:
            reader.ask(request)
            await reader.held(request)
        else:
            await reader.whole(request)
        return await self._go(request, target, handler)

    def _by_body(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        exchange = request.exchange
        body = self._options.reader.readable(request)
        if body is None or len(body) > json_body.ALWAYS_LIGHT_BYTES:
            return self._read(request, handler)
        parsed: JsonBody | RequestError | None = None
        if _may_be_json(request, body):
            try:
                parsed = exchange.json or json_body.read(body)
            except RequestError as exc:
                parsed = exc
        return self._go(request, self._decide(request, body, parsed), handler)

    async def _read(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        reader = self._options.reader
        body = await reader.whole(request)
        parsed: JsonBody | RequestError | None = None
        if _may_be_json(request, body):
            try:
                parsed = await reader.parsed(request, body)
            except RequestError as exc:
                parsed = exc
        return await self._go(request, self._decide(request, body, parsed), handler)

    def _decide(
        self, request: GatewayRequest, body: bytes, parsed: JsonBody | RequestError | None
    ) -> Target | None:
        """The target by a body. The exchange has the body as it is to be sent. `parsed` is what is
        in it, or why it could not be parsed; None if it is not meant to be JSON.
        """
        request.exchange.body = body
        content_type = request.headers.get("Content-Type", "")
        if content_type.lower().startswith("multipart/form-data"):
            return self._by_form(request, content_type, body)
        if parsed is not None:
            return self._by_json(request, parsed)
        fallback = self._options.fallback
        if fallback is not None:  # audio and the like
            self._guard(request, fallback, readable=not body)
        return fallback

    def _go(
        self, request: GatewayRequest, target: Target | None, handler: Handler
    ) -> Awaitable[web.StreamResponse]:
        exchange = request.exchange
        if target is None:
            raise RequestError(
                'The body has to name a model: {"model": ...}.'
                if exchange.handshake is None
                else "The query has to name a model: ?model=...",
                code="model_required",
                param="model",
            )
        if target.translation is not None and self._options.listing.describes(exchange.path):
            return _answer(self._options.listing.description())
        exchange.target = target
        if target.timeouts.total_s is not None or TIMEOUT_HEADER in request._message.headers:
            exchange.deadline = _deadline(request, target)
        return handler(request)

    def _by_query(self, exchange: Exchange) -> Target | None:
        """The target of the model that the query of a WebSocket names, which is renamed there."""
        names = [value for name, value in parse_qsl(exchange.query) if name == "model"]
        if not names:
            return self._options.fallback
        if len(names) > 1:
            raise RequestError("The query names more than one model.", param="model")
        target = self._target(exchange, names[0])
        if target.rename_to is not None:
            exchange.query = requeried(exchange.query, target.rename_to)
        return target

    def _names(self, exchange: Exchange) -> list[str]:
        """The models that the caller may use."""
        return [
            name
            for name, target in self._options.models.items()
            if target.serves(name, exchange.principal)
        ]

    def _by_json(self, request: GatewayRequest, parsed: JsonBody | RequestError) -> Target | None:
        exchange, fallback = request.exchange, self._options.fallback
        if isinstance(parsed, RequestError):
            if self._reads or fallback is None or fallback.access.restricts(exchange.principal):
                raise parsed
            return fallback  # whose business it is
        exchange.json = parsed
        name = parsed.model
        if not self._reads or name is None:
            if fallback is not None:
                self._guard(request, fallback, parsed, own=True)
            return fallback
        target = self._target(exchange, name)
        self._guard(request, target, parsed)
        if target.rename_to is not None:
            parsed.rename(target.rename_to)
            exchange.body = parsed.rendered()
        return target

    def _by_form(self, request: GatewayRequest, content_type: str, body: bytes) -> Target:
        # The model may stand behind the file, which is why forms are read whole.
        exchange, fallback = request.exchange, self._options.fallback
        if not self._reads and fallback is not None:
            span = model_field(body, boundary_of(content_type))
            named = () if span is None else (body[slice(*span)].decode("utf-8", "replace"),)
            self._guard(request, fallback, named=named)
            return fallback
        start, end = find_model_field(body, boundary_of(content_type))
        target = self._target(exchange, body[start:end].decode("utf-8", "replace"))
        self._guard(request, target)
        if target.rename_to is not None:
            exchange.body = b"".join((body[:start], target.rename_to.encode(), body[end:]))
        return target

    def _guard(
        self,
        request: GatewayRequest,
        target: Target,
        body: JsonBody | None = None,
        *,
        named: Sequence[str] = (),
        own: bool = False,
        readable: bool = True,
    ) -> None:
        """Refuse what a caller with certain models may not ask of an upstream.

        `named` are models that the body names, and so does its `model` if that is its `own` word
        for where it goes; `readable`: there is nothing in it that the upstream could read
        otherwise. Raise ModelNotFound, or ModelUnknown where no model is named.
        """
        exchange = request.exchange
        principal, access = exchange.principal, target.access
        if not access.restricts(principal):
            return
        names = [*names_in_path(exchange.path), *names_in_query(exchange.query), *named]
        if body is not None:
            names += body.also_named
            names += names_for_management(exchange.path, body.document)
            if own and body.model is not None:
                names.append(body.model)
        if target is self._options.fallback and not (names and readable):
            raise ModelUnknown("a restricted caller, and no model that can be checked")
        if not all(access.allows(name, principal) for name in names):
            raise ModelNotFound
        if exchange.handshake is not None:
            exchange.checks_model = lambda name: access.allows(name, principal)

    def _target(self, exchange: Exchange, name: str) -> Target:
        target = self._options.models.get(name)
        if target is None or not target.serves(name, exchange.principal):
            # One answer for both: which models exist is nobody's business who may not use them.
            raise ModelNotFound
        exchange.model = name
        return target


async def _answer(response: web.Response) -> web.StreamResponse:
    return response


def requeried(query: str, name: str) -> str:
    """A query that `Resolve` has accepted, with another model."""
    fields = query.split("&")
    return "&".join(
        f"model={quote(name, safe='')}"
        if unquote_plus(field.partition("=")[0]) == "model"
        else field
        for field in fields
    )


def rename_in_form(body: bytes, content_type: str, name: str) -> bytes:
    """A form that `Resolve` has accepted, with another model."""
    start, end = find_model_field(body, boundary_of(content_type))
    return b"".join((body[:start], name.encode(), body[end:]))


def _deadline(request: GatewayRequest, target: Target) -> float | None:
    """When the exchange has to be over: the client may ask for less time than there is."""
    total_s = target.timeouts.total_s
    asked = request._message.headers.get(TIMEOUT_HEADER)
    if asked is not None:
        try:
            asked_s = parse_duration(asked if not asked[-1:].isdigit() else asked + "s")
        except ValueError:
            asked_s = 0.0
        if asked_s <= 0.0:
            raise RequestError(
                f"{TIMEOUT_HEADER} holds no duration: send seconds, or such as 500ms or 2m.",
                code="invalid_timeout",
                param=TIMEOUT_HEADER,
            )
        total_s = asked_s if total_s is None else min(total_s, asked_s)
    return None if total_s is None else request.exchange.started_at + total_s


def _may_be_json(request: GatewayRequest, body: bytes) -> bool:
    """Whatever could be read as JSON is, whatever it calls itself: some servers do not look at the
    content type either.
    """
    return body.lstrip(_BEFORE_JSON).startswith(b"{") or _is_json(request)


def _asks_model(path: str) -> bool:
    return is_operation(path) or path.endswith("/realtime")


def _is_media(request: GatewayRequest) -> bool:
    """Whether a body calls itself a file. Any other may be JSON to a server that does not look at
    its type, and set a maximum of tokens.
    """
    return request.headers.get("Content-Type", "").lower().startswith(_MEDIA)


def _is_json(request: GatewayRequest) -> bool:
    content_type = request.headers.get("Content-Type", "").lower()
    media_type = content_type.partition(";")[0].strip()
    return media_type.endswith("json") or not media_type
