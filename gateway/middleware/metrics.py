"""Request metrics, counted from the exchange of each request when it has ended.

Requests with the same labels add to one subtotal, which is added to the registry's series when the
registry is read: most of a request's figures count in several series. A figure that goes into a
histogram is only appended to a list, and the list is put in buckets as a whole. This runs for
every request, so it is written plainly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from gateway.admission.gate import QueueWait
from gateway.dialects.paths import operation
from gateway.exchange import Exchange
from gateway.limiting.prices import price_at
from gateway.limiting.rules import Price, Rule
from gateway.middleware.request_classes import RequestClasses
from gateway.outcome import EndReason, Stalls
from gateway.routing.table import METHODS
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.partial import PartialDistribution
from gateway.telemetry.metrics.registry import OTHER, Count, Distribution, Registry
from gateway.usage import Usage

if TYPE_CHECKING:
    from gateway.limiting.decision import Decision

BOUND_CAP = 4096
"""Maximum number of remembered combinations of labels, and of remembered paths."""
_FOLDED = 128
"""Number of requests from which on the figures of a subtotal are put in buckets."""
_ENDPOINTS = 500
_CODES = 200
_STATUSES = frozenset(int(status) for status in HTTPStatus)


@dataclass(frozen=True, slots=True)
class Names:
    """Label values taken from the configuration."""

    paths: Mapping[str, str] = field(default_factory=dict)
    """Path by route."""
    models: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """The upstream's own name of a model, by model and upstream."""
    providers: Mapping[str, str] = field(default_factory=dict)
    """Value of `gen_ai.provider.name` by upstream."""
    prices: Mapping[str, tuple[Price, str]] = field(default_factory=dict)
    """Price and currency by model."""


class Counting:
    """Policy that counts requests, for one configuration, in the worker's registry."""

    def __init__(
        self,
        registry: Registry,
        names: Names,
        *,
        tenants: int,
        tokens: bool,
        classes: RequestClasses | None = None,
    ) -> None:
        """`tenants` is the number of tenants with a label of their own. `tokens`: count the tokens
        used by requests to models. `classes` are shared with the other reports of one
        configuration.
        """
        self._classes = classes or RequestClasses()
        self.registry = registry
        self.tokens = tokens
        self._names = names
        self._tenants = registry.known("tenant", tenants)
        self._endpoints = registry.known("endpoint", _ENDPOINTS)
        self._codes = registry.known("code", _CODES)
        self._bound: dict[object, _Bound] = {}
        self._operations: dict[str, str] = {}
        self._limits: dict[tuple[str, str], _LimitCounts] = {}

    def on_report(self, ended: Iterable[Exchange]) -> None:
        """Count requests that have ended."""
        classes, registry = self._classes, self.registry
        for exchange in ended:
            found = exchange.request_class or classes.of(exchange)
            bound = found.subtotal
            if type(bound) is not _Bound or bound.counting is not self:
                bound = found.subtotal = self._bound_of(exchange)
            if not bound.requests:
                registry.defer(bound)
            bound.requests += 1
            bound.bytes_in += exchange.bytes_in
            bound.bytes_out += exchange.bytes_out
            bound.attempts += exchange.attempts
            bound.durations.append(exchange.ended_at - exchange.started_at)
            sent_at, first, trace = exchange.sent_at, exchange.first_byte_at, exchange.trace
            if sent_at is not None and first is not None:
                bound.first_bytes.append(first - sent_at)
            if trace is not None and trace.sampled:
                bound.note(exchange, trace.id)
            if bound.operation is not None:
                self._operation(bound.operation, exchange)
            decided = exchange.decided
            if decided is not None:
                if bound.rules is not decided.rules:
                    bound.rules, bound.limits = decided.rules, self._counts_of(decided.rules)
                self._limited(bound.limits, decided)
            if exchange.stalls is not None:
                self._stalled(exchange, exchange.stalls)
            if exchange.queued is not None:
                self._queued(exchange, exchange.queued)
            if exchange.skipped is not None or exchange.continued:
                self._remade(exchange)
            if len(bound.durations) >= _FOLDED:
                bound.fold()

    def _bound_of(self, exchange: Exchange) -> _Bound:
        """Return the subtotal that has the labels of this request."""
        principal, failure = exchange.principal, exchange.failure
        key = (
            exchange.route,
            exchange.method,
            exchange.status,
            None if failure is None else failure.code,
            exchange.end_reason,
            exchange.model,
            exchange.served,
            exchange.upstream,
            exchange.endpoint,
            # The label, not the tenant: tenants without a label of their own share one subtotal.
            "" if principal is None else self._tenants(principal.tenant or ""),
            None if exchange.model is None else self._operation_of(exchange.path),
            exchange.first_byte_at is None,
        )
        return self._bound.get(key) or self._bind(key, exchange)

    def _operation_of(self, path: str) -> str:
        name = self._operations.get(path)
        if name is None:
            if len(self._operations) >= BOUND_CAP:
                self._operations.clear()
            name = self._operations[path] = operation(path) or OTHER
        return name

    def _operation(self, bound: _Operation, exchange: Exchange) -> None:
        usage, first = exchange.usage if self.tokens else None, exchange.first_token_at
        if usage is not None:
            if usage.estimated:
                bound.add_estimated(usage)
            else:
                bound.input.values.append(usage.input)
                bound.output.values.append(usage.output)
                if usage.cached:
                    bound.cached += usage.cached
                if usage.cache_write:
                    bound.cache_write += usage.cache_write
                if usage.reasoning:
                    bound.reasoning += usage.reasoning
        if first is None or not exchange.streamed:
            return
        trace_id = _sampled_id(exchange)
        first_s = first - exchange.started_at
        bound.first_token.values.append(first_s)
        if trace_id is not None:
            bound.first_token.note(first_s, trace_id)
        if usage is not None and usage.output > 1:
            now = exchange.ended_at
            # The time during which the client read nothing is not the model's.
            if exchange.stalls is not None:
                now -= exchange.stalls.seconds
            each_s = max(0.0, now - first) / (usage.output - 1)
            bound.per_token.values.append(each_s)
            if trace_id is not None:
                bound.per_token.note(each_s, trace_id)

    def _limited(self, limits: Sequence[_LimitCounts], decided: Decision) -> None:
        verdict, demands = decided.verdict, decided.demands
        refused, levels, place = verdict.refused, verdict.levels, 0
        for limit in limits:
            if not limit.decisions:
                self.registry.defer(limit)
            limit.decisions += 1
            if refused is None:
                limit.allowed += 1
            elif refused == place:
                limit.refused += 1
            size = demands[place].size
            if size:
                limit.ratios.append(levels[place].remaining / size)
                if len(limit.ratios) >= _FOLDED:
                    limit.remaining.fold()
            place += 1  # noqa: SIM113 -- an `enumerate` would cost as much as all of this

    def _remade(self, exchange: Exchange) -> None:
        upstream = exchange.upstream or ""
        if exchange.skipped is not None:
            for what, times in exchange.skipped.items():
                count = self.registry.count(table.TRANSLATION_SKIPPED, upstream, what.value)
                count.value += times
        if exchange.continued:
            count = self.registry.count(table.CONTINUATIONS, exchange.model or "", upstream)
            count.value += exchange.continued

    def _stalled(self, exchange: Exchange, stalls: Stalls) -> None:
        route = exchange.route or ""
        self.registry.count(table.STALLS, route).value += stalls.count
        self.registry.count(table.STALL_SECONDS, route).value += stalls.seconds

    def _counts_of(self, rules: Sequence[Rule]) -> tuple[_LimitCounts, ...]:
        """Return the counters of the decisions on each of these rules."""
        found = []
        for rule in rules:
            counts = self._limits.get((rule.name, rule.unit))
            if counts is None:
                counts = self._limits[rule.name, rule.unit] = _LimitCounts(
                    self.registry, rule.name, rule.unit.value
                )
            found.append(counts)
        return tuple(found)

    def _queued(self, exchange: Exchange, wait: QueueWait) -> None:
        labels = exchange.served or exchange.model or "", exchange.upstream or ""
        find = self.registry.distribution
        find(table.QUEUE_WAIT, *labels).add(wait.seconds, _sampled_id(exchange))
        find(table.QUEUE_POSITION, *labels).add(wait.position)

    def _bind(self, key: object, exchange: Exchange) -> _Bound:
        """Look up the counters for this combination of labels. Clients can make up methods and
        paths, so the number of remembered combinations is bounded.
        """
        if len(self._bound) >= BOUND_CAP:
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
        counters = [
            registry.count(table.REQUESTS, route, model, upstream, code, end.value),
            registry.count(table.TENANT_REQUESTS, tenant, code),
        ]
        if error:
            counters.append(registry.count(table.ERRORS, route, upstream, error))
            if error in table.RECLAIM_REASONS:
                reason = table.RECLAIM_REASONS[error]
                counters.append(registry.count(table.RECLAIMED, route, reason))
        if end is EndReason.CLIENT_ABORT:
            phase = "waiting" if exchange.first_byte_at is None else "streaming"
            counters.append(registry.count(table.CLIENT_ABORTS, route, phase))
        if exchange.served is not None:
            counters.append(registry.count(table.FALLBACKS, model, exchange.served))
        durations = [
            registry.distribution(
                table.HTTP_DURATION, method, names.paths.get(route, ""), exact, failure, route
            )
        ]
        attempts = at_model = None
        first_bytes: list[Distribution] = []
        if upstream and exchange.endpoint is not None:
            endpoint = self._endpoints(exchange.endpoint)
            counters.append(registry.count(table.UPSTREAM_REQUESTS, upstream, endpoint, code))
            attempts = registry.count(table.UPSTREAM_ATTEMPTS, upstream)
            first_bytes.append(registry.distribution(table.UPSTREAM_FIRST_BYTE, upstream, endpoint))
        if model and upstream:
            served = exchange.served or model
            common = (
                self._operation_of(exchange.path),
                names.providers.get(upstream, OTHER),
                model,
                names.models.get((served, upstream), served),
                route,
                upstream,
            )
            at_model = _Operation(registry, common, served, tenant, names)
            durations.append(registry.distribution(table.OPERATION_DURATION, *common, failure))
        return _Bound(
            self,
            counters,
            registry.count(table.REQUEST_BYTES, route),
            registry.count(table.RESPONSE_BYTES, route),
            attempts,
            durations,
            first_bytes,
            at_model,
        )


class _Bound:
    """Subtotal of the requests with one combination of labels."""

    __slots__ = (
        "_attempts",
        "_bytes_in",
        "_bytes_out",
        "_counters",
        "_duration",
        "_first_byte",
        "attempts",
        "bytes_in",
        "bytes_out",
        "counting",
        "durations",
        "first_bytes",
        "limits",
        "operation",
        "requests",
        "rules",
    )

    def __init__(
        self,
        counting: Counting,
        counters: Sequence[Count],
        bytes_in: Count,
        bytes_out: Count,
        attempts: Count | None,
        durations: Sequence[Distribution],
        first_bytes: Sequence[Distribution],
        operation: _Operation | None,
    ) -> None:
        """Each such request increments all `counters` by one, and counts in all `durations`, and in
        all `first_bytes` if there was one.
        """
        self.counting = counting
        """Policy that made these labels. When the models change, another policy replaces it."""
        self.rules: Sequence[Rule] = ()
        """Rules of the limits that decided on the last request."""
        self.limits: tuple[_LimitCounts, ...] = ()
        """Counters of the decisions on these limits."""
        self._counters = counters
        self._bytes_in, self._bytes_out, self._attempts = bytes_in, bytes_out, attempts
        self.requests = self.bytes_in = self.bytes_out = self.attempts = 0
        self._duration = PartialDistribution(*durations)
        self._first_byte = PartialDistribution(*first_bytes)
        self.durations, self.first_bytes = self._duration.values, self._first_byte.values
        self.operation = operation

    def note(self, exchange: Exchange, trace_id: str) -> None:
        """Keep the times of a request as exemplars."""
        self._duration.note(exchange.ended_at - exchange.started_at, trace_id)
        sent_at, first = exchange.sent_at, exchange.first_byte_at
        if sent_at is not None and first is not None:
            self._first_byte.note(first - sent_at, trace_id)

    def fold(self) -> None:
        """Put the figures in buckets, so that their lists do not get long."""
        self._duration.fold()
        self._first_byte.fold()
        if self.operation is not None:
            self.operation.fold()

    def settle(self) -> None:
        """Add this subtotal to the registry's series."""
        for counter in self._counters:
            counter.value += self.requests
        self._bytes_in.value += self.bytes_in
        self._bytes_out.value += self.bytes_out
        if self._attempts is not None:
            self._attempts.value += self.attempts
        self.requests = self.bytes_in = self.bytes_out = self.attempts = 0
        self._duration.settle()
        self._first_byte.settle()
        if self.operation is not None:
            self.operation.settle()


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Counters of input and output tokens."""

    input: Count
    output: Count


class _Operation:
    """Part of a subtotal for requests to a model."""

    __slots__ = (
        "_cost",
        "_estimated",
        "_labels",
        "_price",
        "_registry",
        "_reported",
        "cache_write",
        "cached",
        "first_token",
        "input",
        "output",
        "per_token",
        "reasoning",
    )

    def __init__(
        self,
        registry: Registry,
        common: tuple[str, ...],
        served: str,
        tenant: str,
        names: Names,
    ) -> None:
        self._registry = registry
        self._labels = served, tenant
        self.cached = self.cache_write = self.reasoning = 0
        find, count = registry.distribution, registry.count
        self.input = PartialDistribution(find(table.TOKEN_USAGE, *common, "input"))
        self.output = PartialDistribution(find(table.TOKEN_USAGE, *common, "output"))
        self.first_token = PartialDistribution(
            find(table.FIRST_TOKEN, *common), find(table.TENANT_FIRST_TOKEN, tenant)
        )
        self.per_token = PartialDistribution(
            find(table.PER_TOKEN, *common), find(table.TENANT_PER_TOKEN, tenant)
        )
        self._reported, self._estimated = (
            _Tokens(
                count(table.TOKENS, served, tenant, "input", source),
                count(table.TOKENS, served, tenant, "output", source),
            )
            for source in ("reported", "estimated")
        )
        self._price: Price | None = None
        self._cost: Count | None = None
        priced = price_at(names.prices, served, common[-1])  # the upstream
        if priced is not None:
            self._price, currency = priced
            self._cost = count(table.COST, served, tenant, currency)

    def add_estimated(self, usage: Usage) -> None:
        """Count a usage that the response did not report completely."""
        self._count(self._estimated, usage)

    def fold(self) -> None:
        """Put the figures in buckets."""
        for one in (self.input, self.output, self.first_token, self.per_token):
            one.fold()

    def settle(self) -> None:
        """Add this part to the registry's series."""
        self.fold()
        # The sums of both histograms are the reported tokens.
        read, written = int(self.input.sum), int(self.output.sum)
        usage = Usage(read, written, self.cached, self.cache_write, self.reasoning)
        self._count(self._reported, usage)
        self.cached = self.cache_write = self.reasoning = 0
        for one in (self.input, self.output, self.first_token, self.per_token):
            one.settle()

    def _count(self, tokens: _Tokens, usage: Usage) -> None:
        tokens.input.value += usage.input
        tokens.output.value += usage.output
        details = usage.cached, usage.cache_write, usage.reasoning
        if any(details):
            served, tenant = self._labels
            for kind, count in zip(("cached", "cache_write", "reasoning"), details, strict=True):
                if count:
                    counter = self._registry.count(table.TOKENS, served, tenant, kind, "reported")
                    counter.value += count
        if self._price is not None and self._cost is not None:
            self._cost.value += self._price.of(usage) / 1e6


class _LimitCounts:
    """Subtotal of the decisions on one limit."""

    __slots__ = (
        "_allowed",
        "_refused",
        "allowed",
        "decisions",
        "ratios",
        "refused",
        "remaining",
    )

    def __init__(self, registry: Registry, name: str, unit: str) -> None:
        self._allowed = registry.count(table.LIMIT_DECISIONS, name, unit, "allowed")
        self._refused = registry.count(table.LIMIT_DECISIONS, name, unit, "refused")
        self.remaining = PartialDistribution(
            registry.distribution(table.LIMIT_REMAINING, name, unit)
        )
        self.ratios = self.remaining.values
        self.decisions = self.allowed = self.refused = 0

    def settle(self) -> None:
        """Add this subtotal to the registry's series."""
        self._allowed.value += self.allowed
        self._refused.value += self.refused
        self.decisions = self.allowed = self.refused = 0
        self.remaining.settle()


def _sampled_id(exchange: Exchange) -> str | None:
    trace = exchange.trace
    return trace.id if trace is not None and trace.sampled else None
