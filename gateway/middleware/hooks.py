"""Hooks for requests: they see each request of a route before it is forwarded, and may change or
refuse it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sequence

from gateway.dialects.passage_bodies import (
    Changes,
    edited_request,
    edited_request_elsewhere,
    read_request,
)
from gateway.dialects.passages import Passage, TooDeep, request_passages
from gateway.errors import RequestError
from gateway.exchange import Exchange
from gateway.hooks.content import HookedRequest
from gateway.hooks.guarded import GuardedHook, HookPhase, Method
from gateway.json_body import JsonBody, is_heavy
from gateway.request import Request
from gateway.request_body.reader import BodyReader

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_BINARY = ("multipart/", "audio/", "image/", "video/", "application/octet-stream")


class JudgeRequests:
    """Policy that calls the hooks of one route for each request."""

    def __init__(self, hooks: Sequence[GuardedHook], reader: BodyReader) -> None:
        self._hooks = [(hook, hook.on_request) for hook in hooks if hook.on_request is not None]
        self._reader = reader

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Call the hooks in order, and change the body as they do. Raise ContentRefused,
        HookUnavailable, or another GatewayError that a hook raises.
        """
        if request.method not in _WITH_BODY or not request.body_exists:
            return None
        body = request.exchange.json
        if body is None or not body.whole or is_heavy(body.raw):
            return self._read(request)
        hooked = HookedRequest(_passages(body), request.exchange, body.document)
        for number, (hook, method) in enumerate(self._hooks):
            waiting = hook.call(HookPhase.REQUEST, method, hooked)
            if waiting is not None:
                return self._wait(request, body, hooked, waiting, number + 1)
        if hooked.is_changed:
            _rewrite(request.exchange, body, hooked)
        return None

    async def _read(self, request: Request) -> None:
        """Read a body that no policy has read yet, or that is costly to parse."""
        content_type = request.headers.get("Content-Type", "").strip().lower()
        body = request.exchange.json
        if body is None:
            if content_type.startswith(_BINARY):
                return
            raw = await self._reader.whole(request)
            if not raw:
                return
            body = await self._reader.parsed(request, raw)
        if body.whole and not is_heavy(body.raw):
            passages = _passages(body)
        else:
            try:
                passages = await self._reader.offload.run(read_request, body.raw)
            except TooDeep:
                raise _too_deep() from None
        hooked = HookedRequest(passages, request.exchange, body.document)
        await self._wait(request, body, hooked, None, 0)

    async def _wait(
        self,
        request: Request,
        body: JsonBody,
        hooked: HookedRequest,
        waiting: Awaitable[None] | None,
        number: int,
    ) -> None:
        """Wait for a hook, then call those from `number` on."""
        exchange = request.exchange
        mark = exchange.trace.begin("hooks") if exchange.trace is not None else None
        if waiting is not None:
            await waiting
        for hook, method in self._hooks[number:]:
            again = _called(hook, method, hooked)
            if again is not None:
                await again
        if mark is not None:
            mark.ended = time.perf_counter()
        if not hooked.is_changed:
            return
        if body.whole and not is_heavy(body.raw):
            _rewrite(exchange, body, hooked)
        else:
            await self._rewrite_elsewhere(exchange, body, hooked)

    async def _rewrite_elsewhere(
        self, exchange: Exchange, body: JsonBody, hooked: HookedRequest
    ) -> None:
        base = body.restored()
        run = self._reader.offload.run
        change = _changes(hooked), dict(hooked.members)
        raw, made = await run(edited_request_elsewhere, body.raw, *change)
        made.raw = raw
        made_base = None
        if base is not body:
            raw, made_base = await run(edited_request_elsewhere, base.raw, *change)
            made_base.raw = raw
        _replace(exchange, body, made, made_base)


def _called(hook: GuardedHook, method: Method, hooked: HookedRequest) -> Awaitable[None] | None:
    return hook.call(HookPhase.REQUEST, method, hooked)


def _passages(body: JsonBody) -> list[Passage]:
    try:
        return request_passages(body.document)
    except TooDeep:
        raise _too_deep() from None


def _too_deep() -> RequestError:
    return RequestError("The request body is nested too deeply.", code="invalid_json")


def _changes(hooked: HookedRequest) -> Changes:
    passages = hooked.passages
    return {index: (passages[index].original, text) for index, text in hooked.changes.items()}


def _rewrite(exchange: Exchange, body: JsonBody, hooked: HookedRequest) -> None:
    changes, base = _changes(hooked), body.restored()
    _, made = edited_request(body.raw, changes, hooked.members)
    made_base = None
    if base is not body:
        _, made_base = edited_request(base.raw, changes, hooked.members)
    _replace(exchange, body, made, made_base)


def _replace(
    exchange: Exchange, body: JsonBody, made: JsonBody, made_base: JsonBody | None
) -> None:
    """Send `made`. If another model is asked, its rules apply to `made_base`, never to the body
    that the client sent.
    """
    base = body.restored()
    body.replaced_by(made)
    if made_base is not None:
        base.replaced_by(made_base)
        made_base.original = None
    made.original = made_base
    exchange.rewritten(made)
