"""Limits: the demands of a request are all granted before it is sent, or none is; they are
corrected by actual use when it ends.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Collection, Mapping, Sequence
from dataclasses import replace

from aiohttp import web

from gateway.dialects.paths import answers_text, generates
from gateway.dialects.usage_tap import UsageTap
from gateway.errors import GatewayError, LimitsUnavailable, RateLimited
from gateway.exchange import Exchange, GatewayRequest
from gateway.limiting.demand import Demand, Kind, Level, Verdict
from gateway.limiting.guard import GuardedStore
from gateway.limiting.leases import Leases
from gateway.limiting.rules import Amount, Rule, Unit
from gateway.limiting.seen import Seen
from gateway.proxy.body import BodyReader
from gateway.proxy.usage_chunk import UsageFilter
from gateway.routing import Handler
from gateway.usage import Usage, estimate_unread

_LEASE, _TAKE = Kind.LEASE, Kind.TAKE
_METERED = (Unit.TOKENS, Unit.BUDGET_TOKENS, Unit.BUDGET_MONEY)
_NOTHING = Usage(0, 0)
Decided = tuple[Sequence[Rule], Sequence[Demand], Verdict]


class HeadLimits:
    """First phase of a route's `Limits`: check what needs no body before the body is read.

    If the body arrived with the head, `Limits` checks everything at once instead. A middleware that
    reads bodies before `Limits` runs asks for this check first.
    """

    def __init__(self, limits: Limits, reader: BodyReader) -> None:
        self._limits = limits
        self._reader = reader

    def __call__(self, request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Check the limits that need no body. Raise RateLimited or LimitsUnavailable."""
        if request.body_exists and self._is_due(request):
            return self._then(request, handler)
        return handler(request)

    async def _then(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        await self._limits.on_head(request.exchange)
        return await handler(request)

    async def decide(self, request: GatewayRequest) -> None:
        """Check the limits that need no body, unless the body is here or that was done. Raise
        RateLimited or LimitsUnavailable.
        """
        if self._is_due(request):
            await self._limits.on_head(request.exchange)

    def undo(self, exchange: Exchange) -> None:
        """Give back what the request took: it follows another one."""
        self._limits.undo(exchange)

    def _is_due(self, request: GatewayRequest) -> bool:
        return request.exchange.decided is None and self._reader.comes_late(request)


class Limits:
    """Middleware that checks the limits of a route: all at once, or those that `HeadLimits`
    left.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        named: Mapping[str, Sequence[Rule]],
        store: GuardedStore,
        leases: Leases,
        seen: Seen,
        *,
        show: bool,
        asks_usage: bool,
        most: Mapping[str, int],
    ) -> None:
        """`named` are the rules of every limit in the configuration, since a principal may have
        limits of its own. `show`: tell callers what remains. `asks_usage`: the route speaks
        OpenAI's dialect, where a request has to ask for usage in a stream. `most` is the maximum
        number of tokens in an answer, by model.
        """
        self._asks_usage = asks_usage
        self._most = most
        self._rules = tuple(rules)
        self._named = named
        self._store = store
        self._leases = leases
        self._seen = seen
        self._show = show
        self._modes = tuple(rule.on_store_error for rule in rules)
        self._metered = _are_metered(rules)
        self._shown: dict[tuple[int, int], _Shown] = {}

    async def __call__(self, request: GatewayRequest, handler: Handler) -> web.StreamResponse:
        """Check the limits. Raise RateLimited or LimitsUnavailable."""
        exchange = request.exchange
        rules = self._rules_of(exchange)
        if exchange.decided is not None:
            rules = [rule for rule in rules if rule.needs_model]
        if not rules:
            return await handler(request)
        metered = self._metered if rules is self._rules else _are_metered(rules)
        asked = self._asked(request) if metered else _NOTHING
        demands = await self._decide(exchange, rules, asked)
        if metered and exchange.handshake is not None:
            exchange.meter = _SessionMeter(self._store, exchange, rules)
        elif metered:
            self._meter(exchange, rules, demands)
            if self._asks_usage and exchange.path.endswith("/completions"):
                _ask_for_usage(exchange)
        return await handler(request)

    async def on_head(self, exchange: Exchange) -> None:
        """Check the limits that need no body. Raise RateLimited or LimitsUnavailable."""
        rules = [rule for rule in self._rules_of(exchange) if not rule.needs_model]
        if rules:
            await self._decide(exchange, rules, _NOTHING)

    def undo(self, exchange: Exchange) -> None:
        """Give back what was taken on the head, slots too, as if nothing had been decided."""
        if exchange.decided is None:
            return
        rules, demands, verdict = exchange.decided
        self._give_back(exchange.decided)
        for demand in demands:
            if demand.kind is _LEASE:
                self._leases.release(demand)
        if self._show:
            names = {name for name, _ in self._told(rules, verdict.levels, exchange)}
            exchange.response_headers = _without(exchange.response_headers, names)
        exchange.decided = None

    def _rules_of(self, exchange: Exchange) -> Sequence[Rule]:
        """Return the rules of the route and those of the caller."""
        principal = exchange.principal
        if principal is None or not principal.limits:
            return self._rules
        own = [rule for name in principal.limits for rule in self._named.get(name, ())]
        return (*self._rules, *(rule for rule in own if rule not in self._rules))

    async def _decide(
        self, exchange: Exchange, rules: Sequence[Rule], asked: Usage
    ) -> Sequence[Demand]:
        """Grant what the request demands of all these rules, or nothing. Raise RateLimited or
        LimitsUnavailable.
        """
        modes = (
            self._modes if rules is self._rules else tuple(rule.on_store_error for rule in rules)
        )
        demands: Sequence[Demand] = [rule.demand(exchange, asked) for rule in rules]
        self._seen.note(rules, demands, exchange)
        mark = exchange.trace.begin("limits") if exchange.trace is not None else None
        try:
            verdict = await self._store.decide(demands, modes)
        except asyncio.CancelledError:
            # The slots may have been taken. Releasing one that is not held has no effect.
            slots = [replace(d, kind=Kind.RELEASE) for d in demands if d.kind is Kind.LEASE]
            if slots:
                self._store.post(slots)
            raise
        except LimitsUnavailable:
            if exchange.decided is not None:
                self._give_back(exchange.decided)
            raise
        before = exchange.decided
        if before is not None:
            if verdict.refused is not None:
                before = self._give_back(before)
            exchange.decided = _joined(before, (rules, demands, verdict))
        else:
            exchange.decided = rules, demands, verdict
        if self._show:
            told = self._told(exchange.decided[0], exchange.decided[2].levels, exchange)
            if before is not None:
                names = {name for name, _ in told}
                exchange.response_headers = _without(exchange.response_headers, names)
            exchange.response_headers += told
        if verdict.refused is not None:
            rule, wait_s = rules[verdict.refused], verdict.levels[verdict.refused].wait_s
            self._seen.refuse(rule, demands[verdict.refused], wait_s, exchange)
            raise _refused(rule, wait_s)
        if mark is not None:
            mark.ended = time.perf_counter()
        for demand in demands:
            if demand.kind is _LEASE:
                self._hold(exchange, demand)
        return demands

    def _give_back(self, before: Decided) -> Decided:
        """Give back what was taken for the head of a request that is refused for its body. Return
        the decision with corrected levels. Slots are released when the request ends.
        """
        rules, demands, verdict = before
        taken = [demand.kind is _TAKE for demand in demands]
        self._store.post(
            [
                replace(demand, kind=Kind.ADJUST, amount=-demand.amount)
                for demand in demands
                if demand.kind is _TAKE
            ]
        )
        levels = tuple(
            replace(level, remaining=level.remaining + 1) if was else level
            for level, was in zip(verdict.levels, taken, strict=True)
        )
        return rules, demands, Verdict(levels)

    def _told(
        self, rules: Sequence[Rule], levels: Sequence[Level], exchange: Exchange
    ) -> list[tuple[str, str]]:
        """Return header fields with what remains, by draft-ietf-httpapi-ratelimit-headers and in
        OpenAI's form.
        """
        policies: list[str] = []
        states: list[str] = []
        openai: dict[str, tuple[_Shown, Level]] = {}
        for rule, level in zip(rules, levels, strict=True):
            amount = rule.amount_for(exchange)
            # Rule and amount live as long as this object, so their ids are unique.
            shown = self._shown.get((id(rule), id(amount)))
            if shown is None:
                shown = self._shown[id(rule), id(amount)] = _Shown(rule, amount)
            policies.append(shown.policy)
            states.append(f'"{rule.name}";r={level.remaining};t={math.ceil(level.wait_s)}')
            kind = shown.kind
            if kind is not None and (
                kind not in openai or level.remaining <= openai[kind][1].remaining
            ):
                openai[kind] = shown, level
        headers = [("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(states))]
        for shown, level in openai.values():
            headers += (
                (shown.limit, shown.quota),
                (shown.remaining, str(level.remaining)),
                (shown.reset, f"{level.wait_s:.3f}s"),
            )
        return headers

    def _hold(self, exchange: Exchange, demand: Demand) -> None:
        self._leases.keep(demand)
        exchange.at_end(lambda _: self._leases.release(demand))

    def _asked(self, request: GatewayRequest) -> Usage:
        """Return the usage to reserve."""
        exchange = request.exchange
        if not generates(exchange.method, exchange.path):
            return _NOTHING
        asked = exchange.asked
        if exchange.body is None and request.body_exists:
            asked = estimate_unread(request.content_length or 1)
        most = self._most.get(exchange.served or exchange.model or "")
        return asked.reserved(most, text=answers_text(exchange.path))

    def _meter(self, exchange: Exchange, rules: Sequence[Rule], demands: Sequence[Demand]) -> None:
        """Correct the reservation by actual use when the request ends; give all of it back if
        nothing was used.
        """
        if exchange.tap is None:
            exchange.tap = UsageTap()

        def settle(ended: Exchange) -> None:
            used = ended.usage or _NOTHING
            corrections = []
            for rule, demand in zip(rules, demands, strict=True):
                if rule.unit in _METERED:
                    kind = Kind.ADJUST if rule.unit is Unit.TOKENS else Kind.CORRECT
                    difference = rule.cost(ended, used) - demand.amount
                    if difference:
                        corrections.append(replace(demand, kind=kind, amount=difference))
            if corrections:
                self._store.post(corrections)

        exchange.at_end(settle)


class _SessionMeter:
    """Meter that charges a session while it runs, because it may last long."""

    def __init__(self, store: GuardedStore, exchange: Exchange, rules: Sequence[Rule]) -> None:
        self._store = store
        self._exchange = exchange
        self._rules = tuple(rule for rule in rules if rule.unit in _METERED)
        self._modes = tuple(rule.on_store_error for rule in self._rules)

    def count(self, usage: Usage) -> None:
        """Charge tokens that were used, even beyond the limit."""
        self._store.spend(
            [
                replace(
                    rule.demand(self._exchange, usage),
                    kind=Kind.ADJUST if rule.unit is Unit.TOKENS else Kind.CORRECT,
                )
                for rule in self._rules
            ],
            self._modes,
        )

    async def exhausted(self) -> GatewayError | None:
        """Return an error if a limit is exhausted, which refuses even a demand of zero; otherwise
        None.
        """
        demands = [rule.demand(self._exchange, _NOTHING) for rule in self._rules]
        try:
            verdict = await self._store.decide(demands, self._modes)
        except LimitsUnavailable as exc:
            return exc
        if verdict.refused is None:
            return None
        return _refused(self._rules[verdict.refused], verdict.levels[verdict.refused].wait_s)


def _joined(head: Decided, body: Decided) -> Decided:
    """Merge the decisions of both phases, for logs, metrics and headers."""
    refused = body[2].refused
    return (
        (*head[0], *body[0]),
        (*head[1], *body[1]),
        Verdict(
            (*head[2].levels, *body[2].levels),
            None if refused is None else len(head[0]) + refused,
        ),
    )


def _without(headers: list[tuple[str, str]], names: Collection[str]) -> list[tuple[str, str]]:
    return [one for one in headers if one[0] not in names]


def _refused(rule: Rule, wait_s: float) -> RateLimited:
    return RateLimited(rule.name, max(1, math.ceil(wait_s)))


def _ask_for_usage(exchange: Exchange) -> None:
    parsed = exchange.json
    if parsed is not None and parsed.ask_for_usage():
        exchange.body = parsed.rendered()
        exchange.filter = UsageFilter()


class _Shown:
    """Header values for one limit, except those that change with use."""

    __slots__ = ("kind", "limit", "policy", "quota", "remaining", "reset")

    def __init__(self, rule: Rule, amount: Amount) -> None:
        quota = int(amount.size)
        window = "" if not amount.per_s else f";w={max(1, round(amount.size / amount.per_s))}"
        unit = {
            Unit.REQUESTS: "",
            Unit.CONCURRENCY: ';qu="concurrent-requests"',
            Unit.BUDGET_MONEY: ';qu="micro-money"',
        }.get(rule.unit, ';qu="tokens"')
        self.policy = f'"{rule.name}";q={quota}{unit}{window}'
        self.kind = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens"}.get(rule.unit)
        """OpenAI's name for the unit; None if it has none."""
        self.quota = str(quota)
        self.limit = f"x-ratelimit-limit-{self.kind}"
        self.remaining = f"x-ratelimit-remaining-{self.kind}"
        self.reset = f"x-ratelimit-reset-{self.kind}"


def _are_metered(rules: Sequence[Rule]) -> bool:
    """Tell whether a rule counts tokens or money, known only from the response."""
    return any(rule.unit in _METERED for rule in rules)
