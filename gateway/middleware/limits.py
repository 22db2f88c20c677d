"""Limits: before a request is sent, all of its demands are granted or none. When it ends, they are
corrected by actual use.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace

from gateway.dialects.paths import answers_text, generates
from gateway.dialects.usage_chunk import UsageFilter
from gateway.dialects.usage_tap import UsageTap
from gateway.errors import GatewayError, LimitsUnavailable, RateLimited
from gateway.exchange import Exchange
from gateway.limiting.accounts import Account, Accounts
from gateway.limiting.activity import LimitActivity
from gateway.limiting.decision import Decision, Taken
from gateway.limiting.demand import Demand, Kind, LimitVerdict
from gateway.limiting.guard import GuardedStore
from gateway.limiting.leases import Leases
from gateway.limiting.own_rules import OwnRules
from gateway.limiting.rules import Rule, unsettled
from gateway.limiting.soft_limits import HEADER, SoftLimits
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.usage import Usage, estimate_unread

_LEASE, _TAKE = Kind.LEASE, Kind.TAKE
_NOTHING = Usage(0, 0)


class HeadLimits:
    """First phase of a route's `RequestLimits`: check what needs no body before the body is read.

    If the body arrived with the head, `RequestLimits` checks everything at once instead. A
    middleware that reads bodies before `RequestLimits` runs asks for this check first.
    """

    def __init__(self, limits: RequestLimits, reader: BodyReader) -> None:
        self._limits = limits
        self._reader = reader

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Check the limits that need no body, unless the body is here or that was done. Raise
        RateLimited or LimitsUnavailable.
        """
        # `arrived`: a small body that came whole with a known head.
        if request.arrived is None and request.body_exists and self._is_due(request):
            return self._limits.on_head(request.exchange)
        return None

    async def decide(self, request: Request) -> None:
        """The same, in a task. Raise RateLimited or LimitsUnavailable."""
        if self._is_due(request) and (waiting := self._limits.on_head(request.exchange)):
            await waiting

    def undo(self, exchange: Exchange) -> None:
        """Give back the amounts of a request that follows another one."""
        self._limits.undo(exchange)

    def _is_due(self, request: Request) -> bool:
        return request.exchange.decided is None and self._reader.comes_late(request)


class FirstLimits:
    """First phase of a route's `RequestLimits`, where the configuration has no limit that needs the
    body. Callers may have some that were set at run time: these are checked after the model is
    resolved, and plug-ins run before.
    """

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Check the limits that need no body, unless that was done. Raise RateLimited or
        LimitsUnavailable.
        """
        exchange = request.exchange
        return None if exchange.decided is not None else self._limits.on_head(exchange)


class RequestLimits:
    """Policy that checks the limits of a route: all at once, or those that `HeadLimits`
    left.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        named: Mapping[str, Sequence[Rule]],
        store: GuardedStore,
        leases: Leases,
        limit_activity: LimitActivity,
        *,
        show: bool,
        asks_usage: bool,
        most: Mapping[str, int],
        own: OwnRules | None = None,
        soft: SoftLimits | None = None,
    ) -> None:
        """`named` are the rules of every limit in the configuration, since a principal may have
        limits of its own. `show`: tell callers what remains. `asks_usage`: the route speaks
        OpenAI's dialect, where a request has to ask for usage in a stream. `most` is the maximum
        number of tokens in an answer, by model. `own` makes the rules that principals have since
        run time, and `soft` warns of their budgets.
        """
        self._asks_usage = asks_usage
        self._most = most
        self._all = Accounts(rules, named, own=own, show=show)
        self._of_head = Accounts(rules, named, lambda rule: not rule.needs_model, own, show=show)
        self._of_body = Accounts(rules, named, lambda rule: rule.needs_model, own, show=show)
        self._soft = soft
        self._store = store
        self._leases = leases
        self._limit_activity = limit_activity

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Check the limits. Raise RateLimited or LimitsUnavailable."""
        exchange = request.exchange
        account = (self._all if exchange.decided is None else self._of_body).of(exchange)
        if not account.rules:
            return None
        if exchange.delegated is not None and exchange.delegated.unfinished is not None:
            self._take_over(exchange, account, exchange.delegated.unfinished.taken)
            return None
        if not account.is_metered:
            return self._decide(exchange, account, _NOTHING)
        asked = self._asked(request)
        if exchange.session is not None:
            exchange.session.meter = SessionMeter(self._store, exchange, account.rules)
        else:
            self._read_usage(exchange)
        return self._decide(exchange, account, asked)

    def on_head(self, exchange: Exchange) -> Awaitable[None] | None:
        """Check the limits that need no body. Raise RateLimited or LimitsUnavailable."""
        if exchange.unfinished is not None:
            return None  # `on_request` takes over what was decided
        account = self._of_head.of(exchange)
        return self._decide(exchange, account, _NOTHING) if account.rules else None

    def on_end(self, exchange: Exchange) -> None:
        """Release the slots, and correct the reservations by actual use; give all of it back if
        nothing was used.
        """
        decided = exchange.decided
        if decided is None or not decided.unsettled:
            return
        superseded = exchange.superseded
        corrects = (
            not superseded
            and decided.verdict.refused is None
            and (exchange.session is None or exchange.session.meter is None)
        )
        used = exchange.usage or _NOTHING
        posts: list[Demand] = []
        for place, rule in decided.unsettled:
            demand = decided.demands[place]
            if demand.kind is _LEASE:
                release = self._leases.give_up(demand)
                if release is not None and not superseded:
                    posts.append(release)
            elif corrects and rule.correction is not None:
                difference = rule.cost(exchange, used) - demand.amount
                if difference:
                    posts.append(demand.again(rule.correction, difference))
        if posts:
            self._store.post(posts)

    def undo(self, exchange: Exchange) -> None:
        """Give back all amounts and slots, as if nothing had been decided."""
        if exchange.decided is None:
            return
        self._give_back(exchange.decided)
        spent = [
            demand.again(Kind.CORRECT, -demand.amount)
            for demand in exchange.decided.demands
            if demand.kind is Kind.SPEND
        ]
        if spent:
            self._store.post(spent)
        for demand in exchange.decided.demands:
            if demand.kind is _LEASE:
                self._leases.release(demand)
        exchange.decided = None

    def _read_usage(self, exchange: Exchange) -> None:
        """Read the usage of the response, and ask for it if the client does not."""
        if exchange.tap is None:
            exchange.tap = UsageTap()
        parsed = exchange.json
        if (
            self._asks_usage
            and parsed is not None
            and parsed.streams
            and exchange.path.endswith("/completions")
            and parsed.ask_for_usage()
        ):
            exchange.rewritten()
            exchange.filter = UsageFilter()

    def _take_over(self, exchange: Exchange, account: Account, taken: Sequence[Taken]) -> None:
        """Take over the amounts of the request of an unfinished answer: they are not taken again,
        its slots stay held, and its reservations are corrected when the answer ends.
        """
        if account.is_metered:
            self._read_usage(exchange)
        known = {(rule.name, rule.unit.value): rule for rule in account.rules}
        held = [one for one in taken if (one.rule, one.unit) in known]
        rules = [known[one.rule, one.unit] for one in held]
        exchange.decided = Decision(
            rules,
            [one.demand for one in held],
            LimitVerdict(tuple(one.level for one in held)),
            None,
            unsettled(rules),
        )
        for one in held:
            if one.demand.kind is _LEASE:
                self._leases.keep(one.demand)

    def _decide(self, exchange: Exchange, account: Account, asked: Usage) -> Awaitable[None] | None:
        """Grant the request's demands on all these rules, or none. Return an awaitable if the store
        cannot decide at once. Raise RateLimited or LimitsUnavailable.
        """
        demands = account.demands(exchange, asked)
        if account.noted != self._limit_activity.evictions:
            self._limit_activity.note_account(account, demands, exchange)
        trace = exchange.trace
        try:
            verdict = self._store.decide_now(demands, account.modes)
            if verdict is None:
                return self._wait(exchange, account, demands)
            self._apply(exchange, account, demands, verdict)
        except GatewayError as error:
            if trace is not None:
                trace.begin("limits")
            if isinstance(error, LimitsUnavailable) and exchange.decided is not None:
                self._give_back(exchange.decided)
            raise
        if trace is not None and trace.sampled:
            trace.passed("limits")
        return None

    async def _wait(self, exchange: Exchange, account: Account, demands: list[Demand]) -> None:
        mark = exchange.trace.begin("limits") if exchange.trace is not None else None
        try:
            verdict = await self._store.decide(demands, account.modes)
        except asyncio.CancelledError:
            # The slots may have been taken. Releasing one that is not held has no effect.
            slots = [demand.again(Kind.RELEASE) for demand in demands if demand.kind is _LEASE]
            if slots:
                self._store.post(slots)
            raise
        except LimitsUnavailable:
            if exchange.decided is not None:
                self._give_back(exchange.decided)
            raise
        self._apply(exchange, account, demands, verdict)
        if mark is not None:
            mark.ended = time.perf_counter()

    def _apply(
        self, exchange: Exchange, account: Account, demands: Sequence[Demand], verdict: LimitVerdict
    ) -> None:
        """Record the verdict, and hold the slots. Raise RateLimited."""
        rules, before = account.rules, exchange.decided
        exchange.decided = Decision(rules, demands, verdict, account.fields, account.unsettled)
        if before is not None:
            if verdict.refused is not None:
                before = self._give_back(before)
            exchange.decided = _joined(before, exchange.decided)
        if verdict.refused is not None:
            rule, wait_s = rules[verdict.refused], verdict.levels[verdict.refused].wait_s
            self._limit_activity.refuse(rule, demands[verdict.refused], wait_s, exchange)
            raise _refused(rule, wait_s)
        if account.warned and self._soft is not None:
            warning = self._soft.check(account.warned, rules, demands, verdict)
            if warning is not None:
                exchange.response_headers.append((HEADER, warning))
        for place in account.slots:
            self._leases.keep(demands[place])

    def _give_back(self, before: Decision) -> Decision:
        """Give back what was taken for the head of a request that is refused for its body. Return
        the decision with corrected levels. Slots are released when the request ends.
        """
        taken = [demand.kind is _TAKE for demand in before.demands]
        self._store.post(
            [
                demand.again(Kind.ADJUST, -demand.amount)
                for demand in before.demands
                if demand.kind is _TAKE
            ]
        )
        levels = tuple(
            replace(level, remaining=level.remaining + 1) if was else level
            for level, was in zip(before.verdict.levels, taken, strict=True)
        )
        return replace(before, verdict=LimitVerdict(levels))

    def _asked(self, request: Request) -> Usage:
        """Return the usage to reserve."""
        exchange = request.exchange
        if not generates(exchange.method, exchange.path):
            return _NOTHING
        asked = exchange.asked
        if exchange.body is None and request.body_exists:
            asked = estimate_unread(request.content_length or 1)
        most = self._most.get(exchange.served or exchange.model or "")
        return asked.reserved(most, text=answers_text(exchange.path))


class SessionMeter:
    """Meter that charges a session while it runs, because it may last long."""

    def __init__(self, store: GuardedStore, exchange: Exchange, rules: Sequence[Rule]) -> None:
        self._store = store
        self._exchange = exchange
        self._rules = tuple(rule for rule in rules if rule.correction is not None)
        self._modes = tuple(rule.on_store_error for rule in self._rules)

    def count(self, usage: Usage) -> None:
        """Charge tokens that were used, even beyond the limit."""
        demands = []
        for rule in self._rules:
            assert rule.correction is not None  # only such rules are counted here
            demand = rule.demand(self._exchange, usage)
            demands.append(demand.again(rule.correction, demand.amount))
        self._store.spend(demands, self._modes)

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


def _joined(head: Decision, body: Decision) -> Decision:
    """Merge the decisions of both phases, for metrics and headers."""
    rules = (*head.rules, *body.rules)
    refused = body.verdict.refused
    return Decision(
        rules,
        (*head.demands, *body.demands),
        LimitVerdict(
            (*head.verdict.levels, *body.verdict.levels),
            None if refused is None else len(head.rules) + refused,
        ),
        None if head.fields is None or body.fields is None else body.fields.behind(head.fields),
        unsettled(rules),
    )


def _refused(rule: Rule, wait_s: float) -> RateLimited:
    return RateLimited(rule.name, max(1, math.ceil(wait_s)), rule.told)
