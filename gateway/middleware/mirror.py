"""Shadow traffic: a share of the requests that were answered is copied to another model, to compare
both.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from inspect import iscoroutine

from aiohttp import EMPTY_PAYLOAD, web
from structlog.typing import FilteringBoundLogger

from gateway import json_body
from gateway.dialects import Dialect
from gateway.dialects.usage_tap import UsageTap
from gateway.errors import (
    Draining,
    GatewayError,
    RequestError,
    Unavailable,
    UpstreamBusy,
    UpstreamTotalTimeout,
)
from gateway.exchange import Exchange
from gateway.middleware.admission import Admission
from gateway.middleware.request_id import ID_FIELD, new_request_id
from gateway.middleware.tracing import Tracing
from gateway.outcome import EndReason
from gateway.proxy.attempt import SendOptions
from gateway.proxy.relay import RelayedResponse
from gateway.proxy.response_body import end_reason
from gateway.proxy.shadow import Shadows, send_shadow
from gateway.request import Request
from gateway.response_cache.directives import request_directives
from gateway.routing.applied_rules import apply_rules, fits
from gateway.routing.plain_generation import plain_generation
from gateway.routing.resolve import placed, rename_model
from gateway.routing.target import Target
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.traces.context import Parent
from gateway.telemetry.traces.recording import Trace

_OUTPUT, _INPUT = "output", "input"


class ShadowResult(StrEnum):
    """Outcome of a copy."""

    OK = "ok"
    """The answer is complete, with a status below 400."""
    ERROR = "error"
    """The copy failed, or the answer is an error."""
    TIMEOUT = "timeout"
    DROPPED = "dropped"
    """The copy was not sent: too many are in progress, or the other model has no room."""
    UNSUITABLE = "unsuitable"
    """The copy was not sent: the other model cannot take this request."""
    CANCELLED = "cancelled"
    """The gateway stopped."""


@dataclass(frozen=True, slots=True)
class MirrorOptions:
    """Target of copies: another model, and the share of the requests to copy."""

    model: str
    """Name of the other model in the configuration."""
    target: Target
    share: float
    concurrency: int
    timeout_s: float
    max_request_bytes: int


@dataclass(frozen=True, slots=True)
class ShadowSinks:
    """Destinations of the reports on copies."""

    logger: FilteringBoundLogger
    registry: Registry | None
    """Registry of metrics; None if nothing is counted."""
    tracing: Tracing | None
    is_logged: bool
    """True if a line is written for each copy."""


class MirrorRequests:
    """Policy of one route."""

    def __init__(
        self,
        mirrors: Mapping[str, MirrorOptions],
        sending: SendOptions,
        dialect: Dialect,
        shadows: Shadows,
        admission: Admission | None,
        sinks: ShadowSinks,
    ) -> None:
        """`mirrors` by the model that callers ask for."""
        self._mirrors = mirrors
        self._sending = sending
        self._dialect = dialect
        self._shadows = shadows
        self._admission = admission
        self._sinks = sinks

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Copy the request, if its answer begins without an error and it is in the share."""
        exchange = request.exchange
        options = self._mirrors.get(exchange.model or "")
        if (
            options is None
            or response.status != 200
            or exchange.upstream is None  # a stored answer
            or not isinstance(response, RelayedResponse)
            or random.random() >= options.share  # noqa: S311 -- no secret
        ):
            return response
        body = plain_generation(exchange)
        if body is None or "store" in body.document or _forbids_copies(request):
            return response
        raw = body.restored().raw
        if len(raw) > options.max_request_bytes or json_body.is_heavy(raw):
            self._count(exchange, options, ShadowResult.UNSUITABLE)
        elif not self._shadows.has_room(options.model, options.concurrency):
            self._count(exchange, options, ShadowResult.DROPPED)
        else:
            copy = _copied(request, options.model, raw)
            if exchange.captured is not None:
                told = (options.model, copy.exchange.request_id)
                exchange.captured.copies = [*exchange.captured.copies, told]
            self._shadows.start(
                options.model, self._run(copy, options, exchange.model or "", exchange.request_id)
            )
        return response

    async def _run(
        self, request: Request, options: MirrorOptions, model: str, copied_id: str
    ) -> None:
        """Send a copy of the request `copied_id`, which was for `model`, and report it."""
        exchange, result, reason = request.exchange, ShadowResult.CANCELLED, EndReason.DRAIN
        try:
            async with asyncio.timeout(options.timeout_s):
                await self._send(request, options)
            reason = EndReason.COMPLETE
            failed = exchange.failure is not None or (exchange.status or 0) >= 400
            result = ShadowResult.ERROR if failed else ShadowResult.OK
        except TimeoutError:
            result, reason = ShadowResult.TIMEOUT, EndReason.TIMEOUT
            exchange.failed(UpstreamTotalTimeout("the copy took too long"))
        except GatewayError as exc:
            result, reason = _result(exc), end_reason(exc)
            exchange.failed(exc)
        except asyncio.CancelledError:
            exchange.failed(Draining())
            raise
        finally:
            exchange.end(reason)
            self._report(exchange, options, model, copied_id, result)

    async def _send(self, request: Request, options: MirrorOptions) -> None:
        """Send a copy to the other model, by its own rules. Raise GatewayError."""
        exchange = request.exchange
        assert exchange.body is not None
        exchange.json = json_body.read(exchange.body)
        target = placed(request, options.target)
        if target.deployed is not None and exchange.assignment is None:
            raise UpstreamBusy("no deployment has room")
        exchange.target = target
        rename_model(request, exchange.body, target.rename_to or options.model)
        if not fits(request, target):
            raise RequestError("The request does not fit into the model.")
        ruled = apply_rules(request, target, self._sending.reader)
        if ruled is not None:
            await ruled
        asks = self._dialect.asks_for_usage and exchange.path.endswith("/completions")
        if asks and exchange.json.ask_for_usage():
            exchange.rewritten()
        if self._admission is not None:
            waiting = self._admission.on_request(request)
            if iscoroutine(waiting):
                waiting.close()
                raise UpstreamBusy("callers wait for the model")
        await send_shadow(request, target, self._dialect, self._sending)

    # -- reports -------------------------------------------------------------------------------

    def _report(
        self,
        exchange: Exchange,
        options: MirrorOptions,
        model: str,
        copied_id: str,
        result: ShadowResult,
    ) -> None:
        """Report a copy of the request `copied_id`, which was for `model`."""
        sinks, usage = self._sinks, exchange.usage
        registry = sinks.registry
        if registry is not None:
            labels = exchange.route or "", model, options.model
            registry.count(table.SHADOW_REQUESTS, *labels, result).value += 1
            if result is ShadowResult.OK:
                seconds = exchange.ended_at - exchange.started_at
                registry.distribution(table.SHADOW_DURATION, *labels).add(seconds)
                if exchange.streamed and exchange.first_token_at is not None:
                    first_s = exchange.first_token_at - exchange.started_at
                    registry.distribution(table.SHADOW_FIRST_TOKEN, *labels).add(first_s)
            if usage is not None:
                for kind, tokens in ((_INPUT, usage.input), (_OUTPUT, usage.output)):
                    registry.count(table.SHADOW_TOKENS, *labels, kind).value += tokens
        if sinks.tracing is not None:
            sinks.tracing.keep_copy(exchange)
        if sinks.is_logged:
            failure, first = exchange.failure, exchange.first_token_at
            fields = {
                "request_id": exchange.request_id,
                "shadow_of": copied_id,
                "route": exchange.route,
                "model": model,
                "shadow": options.model,
                "upstream": exchange.upstream,
                "result": result,
                "status": exchange.status,
                "error": failure and failure.code,
                "reason": failure and failure.reason,
                "tokens_in": usage and usage.input,
                "tokens_out": usage and usage.output,
                "ttft_ms": first and round((first - exchange.started_at) * 1e3, 3),
                "duration_ms": round((exchange.ended_at - exchange.started_at) * 1e3, 3),
            }
            known = {name: value for name, value in fields.items() if value is not None}
            sinks.logger.info("shadow", **known)

    def _count(self, exchange: Exchange, options: MirrorOptions, result: ShadowResult) -> None:
        """Count a copy that is not sent."""
        registry = self._sinks.registry
        if registry is not None:
            labels = exchange.route or "", exchange.model or "", options.model
            registry.count(table.SHADOW_REQUESTS, *labels, result).value += 1


def _result(error: GatewayError) -> ShadowResult:
    """Return the outcome of a copy that failed."""
    if isinstance(error, RequestError):
        return ShadowResult.UNSUITABLE
    dropped = isinstance(error, Unavailable)
    return ShadowResult.DROPPED if dropped else ShadowResult.ERROR


def _forbids_copies(request: Request) -> bool:
    """Tell whether the caller forbids to store the request, and so to pass it to others."""
    values = request.headers.getall("Cache-Control", ())
    return bool(values) and request_directives(values).no_store


def _copied(request: Request, model: str, raw: bytes) -> Request:
    """Return a copy of a request, with an exchange of its own. `raw` is the body as it came."""
    original = request.exchange
    exchange = Exchange(original.method, original.client_ip, original.trusted_peer)
    exchange.request_id = new_request_id()
    exchange.id_line = ID_FIELD + exchange.request_id.encode() + b"\r\n"
    # The query is left out: it may hold a credential for the backend that the caller asks.
    exchange.host, exchange.path = original.host, original.path
    exchange.forwarded, exchange.public_url = original.forwarded, original.public_url
    exchange.route, exchange.principal = original.route, original.principal
    exchange.decoded = original.decoded
    exchange.bytes_in = len(raw)
    exchange.model = model
    exchange.body = raw
    exchange.tap = UsageTap()
    traced = original.trace
    if traced is not None:
        exchange.trace = trace = Trace(exchange.request_id, traced.sampled)
        trace.shadow_of = original.request_id
        trace.link = Parent(traced.id, traced.span, traced.sampled)
        traced.event("copied", f"{model} {exchange.request_id}")
    # Nothing is written to the client: copies are sent without `Attempts.begin`.
    return Request(request.message, EMPTY_PAYLOAD, request.client, exchange, None, raw)
