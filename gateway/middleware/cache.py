"""Response cache: a request that equals an earlier one gets the stored answer, byte for byte.

The policy runs behind everything that may refuse or change a request, so a hit passes the same
checks as any request. Only a complete answer with status 200 is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy

from gateway.dialects import Dialect
from gateway.dialects.backend_words import is_error
from gateway.dialects.paths import operation
from gateway.dialects.stream_end import has_end
from gateway.exchange import Exchange
from gateway.http.headers import CREDENTIALS
from gateway.json_body import JsonBody, is_heavy
from gateway.limiting.keys import subject_key, tenant_key
from gateway.middleware.limits import RequestLimits
from gateway.outcome import EndReason
from gateway.pipeline import Outcome
from gateway.proxy.relay import RelayedResponse, RelayOptions
from gateway.request import Request
from gateway.response_cache.cache import AnswerCache, Landing
from gateway.response_cache.directives import (
    RequestDirectives,
    age_s,
    lifetime_s,
    request_directives,
)
from gateway.response_cache.key import answer_key, canonical
from gateway.response_cache.store import AnswerLabels
from gateway.response_cache.stored_answer import StoredAnswer
from gateway.response_cache.use import CacheStatus, CacheUse
from gateway.routing.deployments import reassign, unassign
from gateway.routing.plain_generation import plain_generation
from gateway.upstream.head import ResponseHead
from gateway.upstream.response import UpstreamResponse

_KEPT_FIELDS = frozenset(
    {"cache-control", "content-language", "content-type", "date", "etag", "last-modified", "vary"}
)
"""Fields of an answer that are stored. Others, such as ids, rate limits and cookies, describe one
request of one caller.
"""
_TOLD = frozenset({"X-Translation-Dropped"})
"""Fields of the gateway's own that belong to the answer."""
_IGNORED_VARY = frozenset({"", "accept-encoding", "origin"})
"""Values of Vary that do not matter: stored answers are not compressed, and Origin is not for
backends.
"""
_EMBEDDINGS = "embeddings"


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """Options of one route. Sizes are in bytes, times in seconds."""

    route: str
    fingerprint: bytes
    """Digest of the settings on which answers depend."""
    dialect: Dialect
    scope: str
    """Callers who share answers: `tenant`, `subject` or `route`."""
    ttl_s: float
    max_answer_bytes: int
    max_request_bytes: int
    only_deterministic: bool
    tools: bool
    vary: tuple[str, ...]
    obeys: bool
    """True if Cache-Control of backends is obeyed."""
    waits_for_whole: bool
    """True if requests wait for an equal request in progress whose answer is no stream."""
    waits_for_streams: bool
    max_wait_s: float
    counts_hits: bool = True
    """True if hits count as requests in limits."""
    preface: bytes = b""
    """Bytes that open an event stream for a client that `heeds_retry`."""


class CacheAnswers:
    """Policy of one route."""

    def __init__(
        self, options: CacheOptions, cache: AnswerCache, limits: RequestLimits | None = None
    ) -> None:
        """`limits` are those of the route."""
        self._options = options
        self._relay = RelayOptions(options.dialect, hide_server=True, preface=options.preface)
        self._limits = limits
        self._cache = cache
        self._vary = frozenset(name.lower() for name in options.vary) | _IGNORED_VARY

    def on_request(self, request: Request) -> Outcome:
        """Look for a stored answer."""
        exchange = request.exchange
        use = exchange.cache = CacheUse()
        body = plain_generation(exchange)
        if body is None:
            return None
        headers = request.headers
        asked = request_directives(headers.getall("Cache-Control", ()), headers.get("Pragma"))
        if asked.no_store or not self._suits(body, exchange):
            return None
        key = self._key(request, body)
        if key is None:
            return None
        use.key, use.served = key, exchange.served
        if asked.no_cache:
            use.status = CacheStatus.REFRESH
            return None
        return self._search(request, use, asked, streams=body.streams)

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Copy the body of an answer that may be stored."""
        use = request.exchange.cache
        if use is None or not use.key or use.status is CacheStatus.HIT:
            return response
        if isinstance(response, RelayedResponse) and response.status == 200:
            self._begin_copy(use, response, request.exchange)
        return response

    def on_end(self, exchange: Exchange) -> None:
        """Store the answer if it is complete, and count the request."""
        use, options, counts = exchange.cache, self._options, self._cache.counts
        if use is None:
            return
        counts.requests[options.route, use.status] += 1
        if not use.key or use.status is CacheStatus.HIT:
            return
        answer = self._made(exchange, use)
        if answer is not None:
            principal = exchange.principal
            tenant = None if principal is None else principal.tenant
            labels = AnswerLabels(options.route, exchange.model, tenant)
            if self._cache.keep(use.key, answer, labels):
                counts.stored[options.route] += 1
        if use.leads:
            left = exchange.end_reason is EndReason.CLIENT_ABORT
            self._cache.landed(use.key, Landing(answer, leads_on=left))

    # -- hits ----------------------------------------------------------------------------------

    async def _search(
        self, request: Request, use: CacheUse, asked: RequestDirectives, *, streams: bool
    ) -> web.StreamResponse | None:
        """Return a stored answer, or that of an equal request that is under way; None if the
        request has to be sent.
        """
        use.status = CacheStatus.MISS
        exchange, options, cache = request.exchange, self._options, self._cache
        mark = exchange.trace.begin("cache") if exchange.trace is not None else None
        answer = await cache.find(use.key)
        if answer is None or not _is_fresh(answer, asked):
            answer = None
            waits = options.waits_for_streams if streams else options.waits_for_whole
            if waits:
                answer = await self._share(exchange, use, asked)
        if mark is not None:
            mark.ended = time.perf_counter()
        return None if answer is None else self._hit(request, use, answer)

    async def _share(
        self, exchange: Exchange, use: CacheUse, asked: RequestDirectives
    ) -> StoredAnswer | None:
        """Lead, or return the answer of the request that leads; None if the request has to be
        sent. A request that waits takes no place at a deployment from those that are sent.
        """
        cache, place = self._cache, exchange.assignment
        until = asyncio.get_running_loop().time() + self._patience_s(exchange)
        leads = cache.lead(use.key)
        while not leads:
            unassign(exchange)
            landing = await cache.await_leader(use.key, until)
            if landing is None or not landing.leads_on:
                if landing is not None and landing.answer is not None:
                    return landing.answer
                break
            leads = cache.lead(use.key)
        use.leads = leads
        if leads and cache.is_shared:

            async def find() -> StoredAnswer | None:
                answer = await cache.find(use.key)
                return answer if answer is not None and _is_fresh(answer, asked) else None

            unassign(exchange)
            answer = await cache.lead_everywhere(use.key, find, until)
            if answer is not None:
                use.leads = False
                cache.landed(use.key, Landing(answer))
                return answer
        if place is not None and exchange.assignment is None:
            reassign(exchange, place)
        return None

    def _hit(self, request: Request, use: CacheUse, answer: StoredAnswer) -> web.StreamResponse:
        exchange, options = request.exchange, self._options
        use.status = CacheStatus.HIT
        saved, model = self._cache.counts.saved, exchange.model or ""
        saved[options.route, model, "input"] += answer.tokens_in
        saved[options.route, model, "output"] += answer.tokens_out
        unassign(exchange)
        if self._limits is not None and not options.counts_hits:
            self._limits.undo(exchange)
        exchange.tap = exchange.filter = None  # the answer used no tokens, and was filtered before
        age = str(int(answer.age_s(time.time())))
        fields = [*answer.fields, ("Age", age)]
        if not answer.is_stream:
            fields.append(("Content-Length", str(len(answer.body))))
        raw = [(name.encode(), value.encode("latin-1")) for name, value in fields]
        stored = UpstreamResponse(ResponseHead(200, b"OK", raw, "1.1"), None)
        stored.feed(answer.body)
        stored.finish(None)
        return RelayedResponse(stored, exchange, self._relay)

    def _patience_s(self, exchange: Exchange) -> float:
        if exchange.deadline is None:
            return self._options.max_wait_s
        left_s = exchange.deadline - time.perf_counter()
        return min(self._options.max_wait_s, max(0.0, left_s))

    # -- keys ----------------------------------------------------------------------------------

    def _suits(self, body: JsonBody, exchange: Exchange) -> bool:
        """Tell whether the answer to a request may be stored at all."""
        options, document = self._options, body.document
        raw = body.raw
        if len(raw) > options.max_request_bytes or is_heavy(raw):
            return False
        if not options.tools and (document.get("tools") or document.get("functions")):
            return False
        return not options.only_deterministic or _is_deterministic(document, exchange.path)

    def _key(self, request: Request, body: JsonBody) -> str | None:
        """Return the key of the answer; None if the body has no canonical form."""
        exchange, options = request.exchange, self._options
        # Fields that the gateway itself has added are no part of the caller's request.
        sent = exchange.body if exchange.filter is None else body.unasked()
        content = None if sent is None else canonical(sent)
        if content is None:
            return None
        headers = request.headers
        return answer_key(
            (
                options.fingerprint,
                self._owner(exchange, headers),
                *map(_encoded, (options.route, exchange.path, exchange.query)),
                *map(_encoded, (exchange.model or "", exchange.served or "")),
                *_values(headers, options.vary),
                content,
            )
        )

    def _owner(self, exchange: Exchange, headers: CIMultiDictProxy[str]) -> bytes:
        """Return the part of the key that is the same for all callers who share an answer."""
        scope, principal = self._options.scope, exchange.principal
        if scope == "route":
            shared = ""
        else:
            shared = (tenant_key if scope == "tenant" else subject_key)(exchange)
        if principal is None:
            # An anonymous caller may send a credential of the backend, on which the answer depends.
            own = _values(headers, (name.decode() for name in sorted(CREDENTIALS)))
            return answer_key((_encoded(shared), *own)).encode()
        return _encoded(shared)

    # -- answers -------------------------------------------------------------------------------

    def _begin_copy(self, use: CacheUse, response: RelayedResponse, exchange: Exchange) -> None:
        """Copy the body of an answer, if its head allows to store it."""
        options = self._options
        headers = response.initial_headers()
        size = response.size
        if "Content-Encoding" in headers or (size or 0) > options.max_answer_bytes:
            return
        vary = ",".join(headers.getall("Vary", ())).lower().split(",")
        if not {name.strip() for name in vary} <= self._vary:
            return
        use.is_stream = response.body.is_stream
        lifetime = options.ttl_s
        if options.obeys:
            lifetime = lifetime_s(
                headers.getall("Cache-Control", ()),
                lifetime,
                is_private=options.scope == "subject" and exchange.principal is not None,
                is_stream=use.is_stream,
            )
        use.age_s = age_s(headers.get("Age"))
        use.lifetime_s = lifetime - use.age_s
        if use.lifetime_s > 0:
            kept = [field for field in headers.items() if field[0].lower() in _KEPT_FIELDS]
            told = [field for field in exchange.response_headers if field[0] in _TOLD]
            use.fields = (*kept, *told)
            length = headers.get("Content-Length")
            use.collect(options.max_answer_bytes, None if length is None else int(length))
            response.tee(use.feed)

    def _made(self, exchange: Exchange, use: CacheUse) -> StoredAnswer | None:
        """Return the answer to store; None if it is incomplete, or not that of the model."""
        body = use.body
        if (
            body is None
            or exchange.end_reason is not EndReason.COMPLETE
            or exchange.status != 200
            or exchange.failure is not None
            or exchange.continued
            or exchange.superseded
            or exchange.served != use.served
            or not (has_end(body) if use.is_stream else not is_error(body))
        ):
            return None
        usage, now = exchange.usage, time.time()
        return StoredAnswer(
            use.fields,
            body,
            use.is_stream,
            now - use.age_s,
            now + use.lifetime_s,
            0 if usage is None else usage.input,
            0 if usage is None else usage.output,
        )


def _is_fresh(answer: StoredAnswer, asked: RequestDirectives) -> bool:
    """Tell whether an answer is as fresh as the request demands."""
    now = time.time()
    if asked.max_age_s is not None and answer.age_s(now) > asked.max_age_s:
        return False
    return answer.expires_at - now > asked.min_fresh_s


def _is_deterministic(document: Mapping[str, Any], path: str) -> bool:
    """Tell whether the answer depends on the request only."""
    options = document.get("options")
    told = document.get("temperature")
    if told is None and isinstance(options, dict):
        told = options.get("temperature")
    is_zero = isinstance(told, int | float) and not isinstance(told, bool) and told == 0
    return is_zero or operation(path) == _EMBEDDINGS


def _values(headers: CIMultiDictProxy[str], names: Iterable[str]) -> list[bytes]:
    """Return the values of header fields. They differ if any value differs, or is missing."""
    return [_encoded(repr(headers.getall(name, ()))) for name in names]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
