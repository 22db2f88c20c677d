"""Model resolution: decide which model a request is for, and so its target. Also answers requests
for the list of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote_plus

from aiohttp import web
from aiohttp.hdrs import CONTENT_TYPE
from multidict import istr

from gateway import json_body
from gateway.config.units import parse_duration
from gateway.dialects.paths import OPERATION_PATHS
from gateway.dialects.usage_tap import UsageTap
from gateway.errors import ModelNotFound, ModelUnknown, RequestError
from gateway.exchange import Exchange
from gateway.json_body import JsonBody
from gateway.pipeline import Outcome
from gateway.request import Request
from gateway.request_body.multipart import boundary_of, find_model_field, model_field
from gateway.request_body.reader import BodyReader
from gateway.routing.deployments import assign, unassign
from gateway.routing.model_access import (
    is_indirect,
    names_for_management,
    names_in_path,
    names_in_query,
)
from gateway.routing.model_listing import ModelListing
from gateway.routing.target import Target

_MEDIA = ("multipart/", "audio/", "image/", "video/")
_OF_MODELS = (*OPERATION_PATHS, "/realtime")
"""Ends of the paths of requests that a model answers."""
_BEFORE_JSON = b" \t\r\n\0\xef\xbb\xbf\xfe\xff"
"""Whitespace, byte order marks, and the first byte of UTF-16 and UTF-32. Some parsers accept JSON
after these bytes; here it is refused.
"""
TIMEOUT_HEADER = istr("x-request-timeout")


@dataclass(frozen=True, slots=True)
class ResolveOptions:
    """Options of a route for models and bodies. Sizes are in bytes, times in seconds."""

    models: Mapping[str, Target]
    """Models that are served now. With discovery, there may be none of those that are wanted."""
    has_models: bool
    """True if the route is for models."""
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
    """Policy that sets the exchange's target and model, and its body if it had to be read.

    `on_request` raises RequestError, ModelNotFound, ModelUnknown, BodyTooLarge, RequestTimeout,
    ExpectationFailed, UnsupportedCoding or Overloaded.
    """

    def __init__(self, options: ResolveOptions) -> None:
        self._options = options
        self._reads = options.has_models
        self.on_request = self._to_model if options.has_models else self._to_upstream

    def _to_model(self, request: Request) -> Outcome:
        """Find the target of a request on a route with models."""
        options = self._options
        exchange = request.exchange
        if request.body_exists:
            options.reader.check(request)
        if options.reads_usage:
            exchange.tap = exchange.tap or UsageTap()
        if exchange.session is not None:
            target = self._by_query(request)
            if target is not None:
                self._guard(request, target)
            return self._go(request, target)
        if exchange.method in ("GET", "HEAD") and options.listing.asked(exchange.path):
            names = self._names(exchange)
            if not options.listing.asks_health(exchange.query):
                return options.listing.answer(request, names)
            health = {name: options.models[name].health(name) for name in names}
            return options.listing.answer(request, names, health)
        if not request.body_exists:
            if options.fallback is not None:
                self._guard(request, options.fallback)
            return self._go(request, options.fallback)
        return self._by_body(request)

    def _to_upstream(self, request: Request) -> Outcome:
        """Send a request on a route without models to its upstream. The body is parsed only if the
        caller's models are restricted or limits need its content.
        """
        options, target = self._options, self._options.fallback
        assert target is not None
        exchange = request.exchange
        if options.reads_usage and exchange.tap is None and exchange.path.endswith(_OF_MODELS):
            exchange.tap = UsageTap()
        principal = exchange.principal
        restricted = target.access.restricts(principal)
        if not request.body_exists:
            if restricted:
                self._guard(request, target)
            return self._go(request, target)
        reader = options.reader
        reader.check(request)
        metered = options.metered or (principal is not None and principal.limits)
        if restricted or (metered and not _is_media(request)):
            return self._by_body(request)
        if target.needs_whole and reader.here(request) is None:
            return self._held(request, target)
        if request.known is None:
            reader.ask(request)
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
        if body.startswith(b"{") or _may_be_json(request, body):
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
        content_type = request.headers.get(CONTENT_TYPE, "")
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
                'The request names no model: send a JSON body such as {"model": "NAME", ...}.'
                if exchange.session is None
                else "The request names no model: add it to the query, ?model=NAME.",
                code="model_required",
                param="model",
            )
        if target.translation is not None and self._options.listing.describes(exchange.path):
            return self._options.listing.description(exchange.model)
        exchange.target = target
        if target.timeouts.total_s is not None or TIMEOUT_HEADER in request.headers:
            exchange.deadline = _deadline(request, target)
        return None

    def _by_query(self, request: Request) -> Target | None:
        """Return the target of the model named in the query of a WebSocket request; rename the
        model in the query.
        """
        exchange = request.exchange
        names = [value for name, value in parse_qsl(exchange.query) if name == "model"]
        if not names:
            return self._options.fallback
        if len(names) > 1:
            raise RequestError("The query names more than one model.", param="model")
        target = placed(request, self._target(exchange, names[0]))
        if target.rename_to is not None:
            exchange.query = _requeried(exchange.query, target.rename_to)
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
        if target.access.restricts(exchange.principal):
            self._guard(request, target, parsed)
        if target.deployed is not None or exchange.assignment is not None:
            target = placed(request, target)
        if target.rename_to is not None:
            parsed.rename(target.rename_to)
            exchange.rewritten()
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
        target = placed(request, target)
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
        for name in names:
            if not access.allows(name, principal):
                raise ModelNotFound(name)
        if exchange.session is not None:
            exchange.session.checks_model = lambda name: access.allows(name, principal)

    def _target(self, exchange: Exchange, name: str) -> Target:
        target = self._options.models.get(name)
        if target is None or not target.serves(name, exchange.principal):
            # The same error for both, to hide which models exist from callers who may not use them.
            raise ModelNotFound(name)
        exchange.model = name
        return target


def placed(request: Request, target: Target) -> Target:
    """Return the target of the deployment that is to serve the request, and count the request
    there. If none has room, return the target that was given: `Fallbacks` asks another model.
    """
    exchange = request.exchange
    if target.deployed is None:
        if exchange.assignment is not None:
            unassign(exchange)
        return target
    found = target.deployed.choose(exchange, request.headers, exchange.body)
    if found is None:
        unassign(exchange)
        return target
    assign(exchange, found[1])
    return found[0]


def rename_model(request: Request, body: bytes | None, name: str) -> None:
    """Rename the model in a request that `Resolve` has accepted. `body` is the body as it was to be
    sent then.
    """
    exchange = request.exchange
    if exchange.session is not None:
        exchange.query = _requeried(exchange.query, name)
    elif exchange.json is not None:
        exchange.json.rename(name)
        exchange.rewritten()
    elif body is not None:
        content_type = request.headers.get(CONTENT_TYPE, "")
        start, end = find_model_field(body, boundary_of(content_type))
        exchange.body = b"".join((body[:start], name.encode(), body[end:]))


def _requeried(query: str, name: str) -> str:
    fields = query.split("&")
    return "&".join(
        f"model={quote(name, safe='')}"
        if unquote_plus(field.partition("=")[0]) == "model"
        else field
        for field in fields
    )


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
                f"{TIMEOUT_HEADER} is not a duration: send seconds, or such as 500ms or 2m.",
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


def _is_media(request: Request) -> bool:
    """Tell whether the content type of the body is media. A body of any other type may be read as
    JSON by a server that ignores the type, and may set a maximum of tokens.
    """
    return request.headers.get(CONTENT_TYPE, "").lower().startswith(_MEDIA)


def _is_json(request: Request) -> bool:
    content_type = request.headers.get(CONTENT_TYPE, "").lower()
    media_type = content_type.partition(";")[0].strip()
    return media_type.endswith("json") or not media_type
