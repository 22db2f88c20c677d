"""Request metrics: one callback for each request, which reads the exchange when it has ended.

The counters of a request are looked up once for each combination of labels. This runs on the path
of every request, so it is written plainly, with the code of `Distribution.add` inline.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.dialects.paths import operation
from gateway.exchange import EndReason, Exchange, GatewayRequest
from gateway.limiting.rules import Price
from gateway.routing import METHODS, Handler
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.registry import OTHER, Count, Distribution, Registry
from gateway.usage import Usage

if TYPE_CHECKING:
    from gateway.exchange import Decided

_BOUND_CAP = 4096
_ENDPOINTS = 500
_CODES = 200
_STATUSES = frozenset(int(status) for status in HTTPStatus)


@dataclass(frozen=True, slots=True)
class Names:
    """Label values taken from the configuration."""

    paths: Mapping[str, str] = field(default_factory=dict)
    """Path by route."""
    models: Mapping[str, str] = field(default_factory=dict)
    """The upstream's own name of each model."""
    providers: Mapping[str, str] = field(default_factory=dict)
    """Value of `gen_ai.provider.name` by upstream."""
    prices: Mapping[str, tuple[Price, str]] = field(default_factory=dict)
    """Price and currency by model."""


class Counting:
    """Counters of requests for one configuration, in the worker's registry."""

    def __init__(self, registry: Registry, names: Names, *, tenants: int, tokens: bool) -> None:
        """`tenants` is the number of tenants with a label of their own. `tokens`: count the tokens
        used by requests to models.
        """
        self.registry = registry
        self.tokens = tokens
        self._names = names
        self._tenants = registry.known("tenant", tenants)
        self._endpoints = registry.known("endpoint", _ENDPOINTS)
        self._codes = registry.known("code", _CODES)
        self._bound: dict[object, _Bound] = {}
        self._operations: dict[str, str] = {}
        self._limits: dict[tuple[str, str], _LimitCounts] = {}

    def ended(self, exchange: Exchange) -> None:
        """Count a request that has ended."""
        now = time.perf_counter()
        principal, model, first = exchange.principal, exchange.model, exchange.first_byte_at
        operation_name = None
        if model is not None:
            path = exchange.path
            operation_name = self._operations.get(path) or self._operation_of(path)
        key = (
            exchange.route,
            exchange.method,
            exchange.status,
            exchange.error_code,
            exchange.end_reason,
            model,
            exchange.served,
            exchange.upstream,
            exchange.endpoint,
            None if principal is None else principal.tenant,
            operation_name,
            first is None,
        )
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bind(key, exchange)
        trace_id = exchange.trace_id
        duration_s = now - exchange.started_at
        bound.requests.value += 1
        bound.tenant_requests.value += 1
        bound.bytes_in.value += exchange.bytes_in
        bound.bytes_out.value += exchange.bytes_out
        one = bound.duration
        index = bisect_left(one.bounds, duration_s)
        one.counts[index] += 1
        one.sum += duration_s
        if trace_id is not None:
            one.note(index, trace_id, duration_s)
        for counter in bound.once:
            counter.value += 1
        at_endpoint = bound.at_endpoint
        if at_endpoint is not None:
            at_endpoint.requests.value += 1
            at_endpoint.attempts.value += exchange.attempts
            attempt = exchange.attempt
            if attempt is not None and first is not None:
                first_s, one = first - attempt.sent_at, at_endpoint.first_byte
                index = bisect_left(one.bounds, first_s)
                one.counts[index] += 1
                one.sum += first_s
                if trace_id is not None:
                    one.note(index, trace_id, first_s)
        if bound.operation is not None:
            self._operation(bound.operation, exchange, now, duration_s)
        if exchange.decided is not None:
            self._limited(exchange.decided)
        if exchange.stalls:
            route = exchange.route or ""
            self.registry.count(table.STALLS, route).value += exchange.stalls
            self.registry.count(table.STALL_SECONDS, route).value += exchange.stall_s
        if exchange.queue_s is not None:
            self._queued(exchange)
        if exchange.skipped is not None:
            for what, times in exchange.skipped.items():
                labels = exchange.upstream or "", what.value
                self.registry.count(table.TRANSLATION_SKIPPED, *labels).value += times
        if exchange.continued:
            labels = exchange.model or "", exchange.upstream or ""
            self.registry.count(table.CONTINUATIONS, *labels).value += exchange.continued

    def _operation_of(self, path: str) -> str:
        name = self._operations.get(path)
        if name is None:
            if len(self._operations) >= _BOUND_CAP:
                self._operations.clear()
            name = self._operations[path] = operation(path) or OTHER
        return name

    def _operation(
        self, bound: _Operation, exchange: Exchange, now: float, duration_s: float
    ) -> None:
        trace_id, first = exchange.trace_id, exchange.first_token_at
        one = bound.duration
        index = bisect_left(one.bounds, duration_s)
        one.counts[index] += 1
        one.sum += duration_s
        if trace_id is not None:
            one.note(index, trace_id, duration_s)
        usage = exchange.usage if self.tokens else None
        if usage is not None:
            self._used(bound, usage)
        if first is None or not exchange.streamed:
            return
        first_s = first - exchange.started_at
        one, tenant = bound.first_token, bound.tenant_first_token
        index = bisect_left(one.bounds, first_s)  # those of `tenant` are the same
        one.counts[index] += 1
        one.sum += first_s
        tenant.counts[index] += 1
        tenant.sum += first_s
        if trace_id is not None:
            one.note(index, trace_id, first_s)
            tenant.note(index, trace_id, first_s)
        if usage is not None and usage.output > 1:
            # The time during which the client read nothing is not the model's.
            each_s = max(0.0, now - first - exchange.stall_s) / (usage.output - 1)
            one, tenant = bound.per_token, bound.tenant_per_token
            index = bisect_left(one.bounds, each_s)
            one.counts[index] += 1
            one.sum += each_s
            tenant.counts[index] += 1
            tenant.sum += each_s
            if trace_id is not None:
                one.note(index, trace_id, each_s)
                tenant.note(index, trace_id, each_s)

    def _used(self, bound: _Operation, usage: Usage) -> None:
        tokens = bound.estimated if usage.estimated else bound.reported
        tokens.input.value += usage.input
        tokens.output.value += usage.output
        if not usage.estimated:
            one = bound.input
            one.counts[bisect_left(one.bounds, usage.input)] += 1
            one.sum += usage.input
            one = bound.output
            one.counts[bisect_left(one.bounds, usage.output)] += 1
            one.sum += usage.output
        if usage.cached:
            bound.count(self.registry, "cached").value += usage.cached
        if usage.cache_write:
            bound.count(self.registry, "cache_write").value += usage.cache_write
        if usage.reasoning:
            bound.count(self.registry, "reasoning").value += usage.reasoning
        if bound.price is not None and bound.cost is not None:
            bound.cost.value += bound.price.of(usage) / 1e6

    def _limited(self, decided: Decided) -> None:
        rules, demands, verdict = decided
        refused, levels, known = verdict.refused, verdict.levels, self._limits
        for index, rule in enumerate(rules):
            counts = known.get((rule.name, rule.unit))
            if counts is None:
                counts = known[rule.name, rule.unit] = _LimitCounts(
                    self.registry, rule.name, rule.unit.value
                )
            if refused is None:
                counts.allowed.value += 1
            elif refused == index:
                counts.refused.value += 1
            size = demands[index].size
            if size:
                ratio, one = levels[index].remaining / size, counts.remaining
                one.counts[bisect_left(one.bounds, ratio)] += 1
                one.sum += ratio

    def _queued(self, exchange: Exchange) -> None:
        labels = exchange.served or exchange.model or "", exchange.upstream or ""
        find = self.registry.distribution
        find(table.QUEUE_WAIT, *labels).add(exchange.queue_s or 0.0, exchange.trace_id)
        find(table.QUEUE_POSITION, *labels).add(exchange.queue_position or 0)

    def _bind(self, key: object, exchange: Exchange) -> _Bound:
        """Look up the counters for this combination of labels. Clients can make up methods and
        paths, so the number of remembered combinations is bounded.
        """
        if len(self._bound) >= _BOUND_CAP:
            self._bound.clear()
        bound = self._bound[key] = self._found(exchange)
        return bound

    def _found(self, exchange: Exchange) -> _Bound:
        registry, names = self.registry, self._names
        route, model = exchange.route or "", exchange.model or ""
        upstream, end = exchange.upstream or "", exchange.end_reason or EndReason.COMPLETE
        method = exchange.method if exchange.method in METHODS else "_OTHER"
        status = exchange.status
        code = "none" if status is None else f"{status // 100}xx" if 100 <= status < 600 else OTHER
        exact = "" if status is None else str(status) if status in _STATUSES else OTHER
        error = self._codes(exchange.error_code) if exchange.error_code else ""
        failure = error
        if not failure and end is not EndReason.COMPLETE:
            failure = end.value
        elif not failure and status is not None and status >= 500:
            failure = exact
        principal = exchange.principal
        tenant = self._tenants(principal.tenant or "") if principal is not None else ""
        once = []
        if error:
            once.append(registry.count(table.ERRORS, route, upstream, error))
        if end is EndReason.CLIENT_ABORT:
            phase = "waiting" if exchange.first_byte_at is None else "streaming"
            once.append(registry.count(table.CLIENT_ABORTS, route, phase))
        if exchange.served is not None:
            once.append(registry.count(table.FALLBACKS, model, exchange.served))
        at_endpoint = at_model = None
        if upstream and exchange.endpoint is not None:
            endpoint = self._endpoints(exchange.endpoint)
            at_endpoint = _AtEndpoint(
                registry.count(table.UPSTREAM_REQUESTS, upstream, endpoint, code),
                registry.count(table.UPSTREAM_ATTEMPTS, upstream),
                registry.distribution(table.UPSTREAM_FIRST_BYTE, upstream, endpoint),
            )
        if model and upstream:
            served = exchange.served or model
            common = (
                self._operation_of(exchange.path),
                names.providers.get(upstream, OTHER),
                model,
                names.models.get(served, served),
                route,
                upstream,
            )
            at_model = _Operation(registry, common, failure, served, tenant, names)
        return _Bound(
            registry.distribution(
                table.HTTP_DURATION, method, names.paths.get(route, ""), exact, failure, route
            ),
            registry.count(table.REQUESTS, route, model, upstream, code, end.value),
            registry.count(table.TENANT_REQUESTS, tenant, code),
            registry.count(table.REQUEST_BYTES, route),
            registry.count(table.RESPONSE_BYTES, route),
            tuple(once),
            at_endpoint,
            at_model,
        )


class Metrics:
    """Middleware that counts the requests of one route, or of those without a route."""

    def __init__(self, counting: Counting) -> None:
        self._ended = counting.ended

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        request.exchange.at_end(self._ended)
        return handler(request)


@dataclass(frozen=True, slots=True)
class _Bound:
    """Counters and histograms for one combination of labels."""

    duration: Distribution
    requests: Count
    tenant_requests: Count
    bytes_in: Count
    bytes_out: Count
    once: tuple[Count, ...]
    """Counters that each such request increments by one."""
    at_endpoint: _AtEndpoint | None
    operation: _Operation | None


@dataclass(frozen=True, slots=True)
class _AtEndpoint:
    """Counters and histograms of requests sent to an endpoint."""

    requests: Count
    attempts: Count
    first_byte: Distribution


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Counters of input and output tokens."""

    input: Count
    output: Count


class _Operation:
    """Counters and histograms of requests to a model."""

    __slots__ = (
        "_labels",
        "cost",
        "duration",
        "estimated",
        "first_token",
        "input",
        "output",
        "per_token",
        "price",
        "reported",
        "tenant_first_token",
        "tenant_per_token",
    )

    def __init__(
        self,
        registry: Registry,
        common: tuple[str, ...],
        failure: str,
        served: str,
        tenant: str,
        names: Names,
    ) -> None:
        self._labels = served, tenant
        self.duration = registry.distribution(table.OPERATION_DURATION, *common, failure)
        self.input = registry.distribution(table.TOKEN_USAGE, *common, "input")
        self.output = registry.distribution(table.TOKEN_USAGE, *common, "output")
        self.first_token = registry.distribution(table.FIRST_TOKEN, *common)
        self.per_token = registry.distribution(table.PER_TOKEN, *common)
        self.tenant_first_token = registry.distribution(table.TENANT_FIRST_TOKEN, tenant)
        self.tenant_per_token = registry.distribution(table.TENANT_PER_TOKEN, tenant)
        self.reported, self.estimated = (
            _Tokens(
                registry.count(table.TOKENS, served, tenant, "input", source),
                registry.count(table.TOKENS, served, tenant, "output", source),
            )
            for source in ("reported", "estimated")
        )
        self.price: Price | None = None
        self.cost: Count | None = None
        if served in names.prices:
            self.price, currency = names.prices[served]
            self.cost = registry.count(table.COST, served, tenant, currency)

    def count(self, registry: Registry, kind: str) -> Count:
        """Return the counter of a rarer kind of tokens."""
        served, tenant = self._labels
        return registry.count(table.TOKENS, served, tenant, kind, "reported")


class _LimitCounts:
    """Counters and histogram of decisions on one limit."""

    __slots__ = ("allowed", "refused", "remaining")

    def __init__(self, registry: Registry, name: str, unit: str) -> None:
        self.allowed = registry.count(table.LIMIT_DECISIONS, name, unit, "allowed")
        self.refused = registry.count(table.LIMIT_DECISIONS, name, unit, "refused")
        self.remaining = registry.distribution(table.LIMIT_REMAINING, name, unit)
