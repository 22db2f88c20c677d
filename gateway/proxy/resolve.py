"""Model resolution: decide which model a request is for, and so its target. Also answers requests
for the list of models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_plus

from aiohttp import web
from multidict import istr

from gateway import json_body
from gateway.auth.principal import Principal
from gateway.config.units import parse_duration
from gateway.dialects.paths import is_operation
from gateway.dialects.translation.translation import Translation
from gateway.dialects.usage_tap import UsageTap
from gateway.errors import ModelNotFound, ModelUnknown, RequestError
from gateway.exchange import Exchange
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
from gateway.json_body import JsonBody
from gateway.model_access import (
    ModelAccess,
    is_indirect,
    names_for_management,
    names_in_path,
    names_in_query,
)
from gateway.pipeline import Outcome
from gateway.proxy.body import BodyReader
from gateway.proxy.model_listing import ModelListing
from gateway.proxy.multipart import boundary_of, find_model_field, model_field
from gateway.request import Request
from gateway.upstream.balancing.balancer import Hint
from gateway.upstream.options import Timeouts
from gateway.upstream.upstream import Upstream

_MEDIA = ("multipart/", "audio/", "image/", "video/")
_BEFORE_JSON = b" \t\r\n\0\xef\xbb\xbf\xfe\xff"
"""Whitespace, byte order marks, and the first byte of UTF-16 and UTF-32. Some parsers accept JSON
after these bytes; here it is refused.
"""
_ALWAYS_DROPPED = HOP_BY_HOP | FORWARDING | IDENTITY | OURS


TIMEOUT_HEADER = istr("x-request-timeout")
HintOf = Callable[[Request, bytes | None], Hint]

NO_HINT = Hint()
ANY_MODEL = ModelAccess({})


def no_hint(request: Request, body: bytes | None) -> Hint:
    """Return no hint, for balancers that look at endpoints only."""
    return NO_HINT


class Target:
    """Upstream as one route uses it, under one model name."""

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
        """`hint` computes what the balancer is told about a request. `identity` are lower-case
        names of headers that identify the caller; the gateway sets them, not the client. `scopes`
        are those that a caller needs. `legible`: responses are read, so no compressed ones are
        requested. `translation` converts between the caller's dialect and the upstream's, if they
        differ. `traced`: the gateway sets the trace headers itself. `access` decides which models
        callers may name to the upstream. `reads_json`: the balancer looks into bodies.
        `tells_asked`: responses that are not translated get the model name that the caller
        requested. `queued`: requests may have to wait in a queue.
        """
        self.tells_asked = tells_asked
        self.upstream = upstream
        self.access = access
        self.timeouts = timeouts
        self.hint = hint
        self.fallbacks = tuple(fallbacks)
        """Names and targets of the models to try instead, in order."""
        self.continues: bool = upstream.options.continues is not None or any(
            other.continues for _, other in self.fallbacks
        )
        """True if this target or a fallback can continue an answer that broke off."""
        self.reads_json = reads_json or self.continues
        """True if a body that is JSON has to be parsed before it is sent."""
        self.keeps_host = upstream.options.keeps_host
        """True if the upstream is sent the client's Host header."""
        self.scopes = frozenset(scopes)
        self.rename_to = rename_to
        # An unauthenticated caller may send the upstream's credential itself, unless the gateway
        # sets one for this upstream.
        keeps_credential = anonymous and not upstream.options.replaced & CREDENTIALS
        self.shows_credential = keeps_credential and translation is not None
        """True if the caller's credential is sent to the upstream in the header of the upstream's
        dialect.
        """
        self.needs_whole = translation is not None or queued
        """True if a body is read whole before the request is sent on, so that a slow client does
        not hold a place in a queue.
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
        """Filter of the request headers that are forwarded."""
        self.passing_to_read = self.passing.less(ACCEPT_ENCODING)
        """The same filter without Accept-Encoding, for responses that the gateway has to read."""

    def serves(self, name: str, principal: Principal | None) -> bool:
        """Tell whether a caller may use this target under this name."""
        if principal is None:
            return not self.scopes
        return self.scopes <= principal.scopes and (
            principal.models is None or name in principal.models
        )


@dataclass(frozen=True, slots=True)
class ResolveOptions:
    """Options of a route for models and bodies. Sizes are in bytes, times in seconds."""

    models: Mapping[str, Target]
    fallback: Target | None
    """Target of a request that names no model."""
    listing: ModelListing
    """Responses to requests for the list of models."""
    reader: BodyReader
    reads_usage: bool = True
    """True if responses of models are read for their token usage."""
    metered: bool = False
    """True if a limit of the route depends on the content of a body."""


class Resolve:
    """Policy that sets the exchange's target and model, and its body if it had to be read."""

    def __init__(self, options: ResolveOptions) -> None:
        self._options = options
        self._reads = bool(options.models)

    def on_request(self, request: Request) -> Outcome:
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
            return self._raw(request)
        if exchange.handshake is not None:
            target = self._by_query(exchange)
            if target is not None:
                self._guard(request, target)
            return self._go(request, target)
        if exchange.method in ("GET", "HEAD") and options.listing.asked(exchange.path):
            return options.listing.answer(request, self._names(exchange))
        if not request.body_exists:
            if options.fallback is not None:
                self._guard(request, options.fallback)
            return self._go(request, options.fallback)
        return self._by_body(request)

    def _raw(self, request: Request) -> Outcome:
        """Send a request on a route without models to its upstream. The body is read only if the
        caller's models are restricted or limits need its content.
        """
        options, target = self._options, self._options.fallback
        assert target is not None
        exchange = request.exchange
        restricted = target.access.restricts(exchange.principal)
        if not request.body_exists:
            if restricted:
                self._guard(request, target)
            return self._go(request, target)
        principal = exchange.principal
        metered = options.metered or (principal is not None and principal.limits)
        if restricted or (metered and not _is_media(request)):
            return self._by_body(request)
        if target.needs_whole and options.reader.here(request) is None:
            return self._held(request, target)
        options.reader.ask(request)
        return self._go(request, target)

    async def _held(self, request: Request, target: Target) -> web.StreamResponse | None:
        """Read the body before the request takes a place in a queue."""
        reader = self._options.reader
        if target.translation is None:
            reader.ask(request)
            await reader.held(request)
        else:
            await reader.whole(request)
        return self._go(request, target)

    def _by_body(self, request: Request) -> Outcome:
        exchange = request.exchange
        body = self._options.reader.readable(request)
        if body is None or len(body) > json_body.ALWAYS_LIGHT_BYTES:
            return self._read(request)
        parsed: JsonBody | RequestError | None = None
        if _may_be_json(request, body):
            try:
                parsed = exchange.json or json_body.read(body)
            except RequestError as exc:
                parsed = exc
        return self._go(request, self._decide(request, body, parsed))

    async def _read(self, request: Request) -> web.StreamResponse | None:
        reader = self._options.reader
        body = await reader.whole(request)
        parsed: JsonBody | RequestError | None = None
        if _may_be_json(request, body):
            try:
                parsed = await reader.parsed(request, body)
            except RequestError as exc:
                parsed = exc
        return self._go(request, self._decide(request, body, parsed))

    def _decide(
        self, request: Request, body: bytes, parsed: JsonBody | RequestError | None
    ) -> Target | None:
        """Return the target, chosen by the body; store the body to send in the exchange. `parsed`
        is the parsed body, or the error that parsing raised, or None if the body is not meant to be
        JSON.
        """
        request.exchange.body = body
        content_type = request.headers.get("Content-Type", "")
        if content_type.lower().startswith("multipart/form-data"):
            return self._by_form(request, content_type, body)
        if parsed is not None:
            return self._by_json(request, parsed)
        fallback = self._options.fallback
        if fallback is not None:  # audio, for example
            self._guard(request, fallback, readable=not body)
        return fallback

    def _go(self, request: Request, target: Target | None) -> web.StreamResponse | None:
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
            return self._options.listing.description()
        exchange.target = target
        if target.timeouts.total_s is not None or TIMEOUT_HEADER in request.headers:
            exchange.deadline = _deadline(request, target)
        return None

    def _by_query(self, exchange: Exchange) -> Target | None:
        """Return the target of the model named in the query of a WebSocket request; rename the
        model in the query.
        """
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
        """Return the models that the caller may use."""
        return [
            name
            for name, target in self._options.models.items()
            if target.serves(name, exchange.principal)
        ]

    def _by_json(self, request: Request, parsed: JsonBody | RequestError) -> Target | None:
        exchange, fallback = request.exchange, self._options.fallback
        if isinstance(parsed, RequestError):
            if self._reads or fallback is None or fallback.access.restricts(exchange.principal):
                raise parsed
            return fallback  # such a route does not require valid JSON
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

    def _by_form(self, request: Request, content_type: str, body: bytes) -> Target:
        # Forms are read whole because the model may come after the file.
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
        request: Request,
        target: Target,
        body: JsonBody | None = None,
        *,
        named: Sequence[str] = (),
        own: bool = False,
        readable: bool = True,
    ) -> None:
        """Refuse a request that names a model the caller may not use, or, on the fallback target,
        no model that can be checked. Callers without restrictions pass.

        `named` are models that the body names. `own`: the body's `model` counts too, because the
        upstream acts on it. `readable`: the upstream cannot find another model in the body. Raise
        ModelNotFound, or ModelUnknown if no model is named.
        """
        exchange = request.exchange
        principal, access = exchange.principal, target.access
        if not access.restricts(principal):
            return
        if is_indirect(exchange.path):
            raise ModelUnknown("a restricted caller, and a resource that may name other models")
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
            # The same error for both, to hide which models exist from callers who may not use them.
            raise ModelNotFound
        exchange.model = name
        return target


def requeried(query: str, name: str) -> str:
    """Replace the model in a query that `Resolve` has accepted."""
    fields = query.split("&")
    return "&".join(
        f"model={quote(name, safe='')}"
        if unquote_plus(field.partition("=")[0]) == "model"
        else field
        for field in fields
    )


def rename_in_form(body: bytes, content_type: str, name: str) -> bytes:
    """Replace the model in a form that `Resolve` has accepted."""
    start, end = find_model_field(body, boundary_of(content_type))
    return b"".join((body[:start], name.encode(), body[end:]))


def _deadline(request: Request, target: Target) -> float | None:
    """Return the time by which the exchange must end, in `time.perf_counter` seconds; None for no
    limit. The client may shorten the configured time. Raise RequestError.
    """
    total_s = target.timeouts.total_s
    asked = request.headers.get(TIMEOUT_HEADER)
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


def _may_be_json(request: Request, body: bytes) -> bool:
    """Tell whether a body may be read as JSON, whatever its content type: some servers ignore the
    content type, too.
    """
    return body.lstrip(_BEFORE_JSON).startswith(b"{") or _is_json(request)


def _asks_model(path: str) -> bool:
    return is_operation(path) or path.endswith("/realtime")


def _is_media(request: Request) -> bool:
    """Tell whether the content type of the body is media. A body of any other type may be read as
    JSON by a server that ignores the type, and may set a maximum of tokens.
    """
    return request.headers.get("Content-Type", "").lower().startswith(_MEDIA)


def _is_json(request: Request) -> bool:
    content_type = request.headers.get("Content-Type", "").lower()
    media_type = content_type.partition(";")[0].strip()
    return media_type.endswith("json") or not media_type
