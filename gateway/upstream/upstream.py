"""An upstream: its endpoints, the choice of the next one, and what answers teach about them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import UpstreamBusy
from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import EndpointState
from gateway.upstream.latencies import Beginning, Quantile, Slowness
from gateway.upstream.optional_fields import OptionalFields
from gateway.upstream.options import UpstreamOptions
from gateway.upstream.provider_quota import ReportedQuota
from gateway.upstream.ranking import Groups, ranked
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.waking import Waking

_NEVER = float("inf")
_WORKING = frozenset({EndpointState.HEALTHY, EndpointState.WARMING, EndpointState.COOLING})
_AT_WORK = (EndpointState.HEALTHY, EndpointState.WARMING, EndpointState.COOLING)
"""States in which an endpoint takes any request, so that its answers can be compared."""
_READY = (EndpointState.HEALTHY, EndpointState.WARMING)


class Part(Protocol):
    """A background activity of an upstream."""

    def start(self) -> None:
        """Start the activity."""

    def close(self) -> None:
        """Stop the activity."""


Report = Callable[[Endpoint, EndpointState, str], None]


@dataclass(slots=True)
class Failures:
    """Counters of failures and of the reactions to them, for the metrics."""

    ejected: int = 0
    slow: int = 0
    """Number of ejections for slowness, which `ejected` includes."""
    panics: int = 0
    retries: int = 0
    hedges: int = 0


class Upstream:
    """Endpoints of one backend. They are equivalent except for weight and priority."""

    def __init__(
        self,
        name: str,
        options: UpstreamOptions,
        balancer: Balancer,
        endpoints: Sequence[Endpoint] = (),
        *,
        now: Callable[[], float],
        report: Report = lambda endpoint, state, why: None,
    ) -> None:
        """`now` is the event loop's clock. `report` is called when an endpoint's state changes."""
        self.name = name
        self.options = options
        self.budget = RetryBudget(options.budget_share, options.budget_reserve)
        self.begin_s = Quantile()
        """Times from sending a request to the first byte."""
        self.counts = Failures()
        self.panicking = False
        self.fields = OptionalFields()
        self.uploads = 0
        """Number of requests whose body is still being received from the client."""
        self._most_uploads = 0
        self._only: Endpoint | None = None
        """The endpoint, if there is exactly one and it is healthy."""
        self.waking: Waking | None = None
        """Wait for its start; None if it does not scale from zero."""
        self.is_plain = False
        """True if a good answer teaches nothing, so that it need not be reported: there is one
        endpoint, it is healthy, and nobody asks how soon it answers.
        """
        self.successor: Upstream | None = None
        """The upstream that has taken over the endpoints after a reload."""
        self.on_update: list[Callable[[], None]] = []
        """Called when the set of endpoints has changed."""
        self.lacking: Mapping[str, tuple[Endpoint, ...]] = {}
        """Endpoints that do not have a model, by the upstream's name for it. Only models that some
        endpoints have and others do not are in it.
        """
        self.parts: list[Part] = []
        """Background activities: health checks, discovery."""
        self.endpoints: tuple[Endpoint, ...] = ()
        self._balancer = balancer
        self._now = now
        self._report = report
        self._slowness = Slowness(options.slowness) if options.slowness is not None else None
        self._groups: Groups = ()
        """Endpoints that are in service, in the order in which they are used."""
        self._last_resort: Groups = ()
        """Endpoints that are ejected, unhealthy or half-open, used before a request is refused."""
        self._states: dict[Endpoint, EndpointState] = {}
        self._probing = False
        """True if some endpoint only gets probes."""
        self._siblings: dict[Endpoint, list[str]] = {}
        """Keys of the endpoints to which an endpoint is compared; filled on use."""
        self._look_at = 0.0
        self._waiting: dict[asyncio.Future[Endpoint | None], tuple[Hint, Sequence[Endpoint]]] = {}
        self.update(endpoints)

    @property
    def latest(self) -> Upstream:
        """Return the upstream that has the endpoints now: this one or its last successor."""
        upstream = self
        while upstream.successor is not None:
            upstream = upstream.successor
        return upstream

    @property
    def wait_for_start_s(self) -> float:
        """Longest wait for its start in seconds, while it scales from zero; else 0."""
        waking = self.latest.waking
        return waking.options.max_wait_s if waking is not None and waking.is_waking else 0.0

    @property
    def is_full_of_uploads(self) -> bool:
        """True if bodies that are still being received take half of the capacity. The next request
        then has to be complete before it is sent, so that slow clients cannot take the other half.
        """
        return self.uploads >= self._most_uploads

    # -- selection -------------------------------------------------------------------------

    async def acquire(
        self, hint: Hint, tried: Sequence[Endpoint] = (), patience_s: float | None = None
    ) -> Endpoint | None:
        """Return the endpoint for a request, or None if all were tried. The caller has to `release`
        it.

        Wait while no endpoint in service has room, for `patience_s` at most. If the request would
        otherwise be refused, return an endpoint that is ejected, unhealthy or half-open. Raise
        UpstreamBusy if too many requests wait or this one has waited too long, and none of those
        endpoints has room either.
        """
        if self.successor is not None:
            return await self.successor.acquire(hint, tried, patience_s)
        if self._now() >= self._look_at:
            self._look()
        endpoint, left = self._choose(hint, tried)
        if endpoint is not None:
            endpoint.in_flight += 1
            return endpoint
        if not left:
            return None
        longest_s = self.options.pending_s
        try:
            return await self._wait(
                hint, tried, longest_s if patience_s is None else min(longest_s, patience_s)
            )
        except UpstreamBusy:
            endpoint, _ = self.latest._out(hint, tried)
            if endpoint is None:
                raise
            endpoint.in_flight += 1
            return endpoint

    def acquire_now(self, hint: Hint, tried: Sequence[Endpoint]) -> Endpoint | None:
        """Return an endpoint that is in service, or None if none has room. Does not wait.

        Called for every request, so it has to be fast.
        """
        if self.successor is not None:
            return self.successor.acquire_now(hint, tried)
        only = self._only
        if only is not None and only.in_flight < only.max_requests and only not in tried:
            only.in_flight += 1
            return only
        if self._now() >= self._look_at:
            self._look()
        endpoint, _ = self._well(hint, tried)
        if endpoint is not None:
            endpoint.in_flight += 1
        return endpoint

    def release(self, endpoint: Endpoint, begun: bool = False, succeeded: bool = False) -> None:
        """Take back an endpoint after its request has ended. `begun`: `began` was called for it.
        `succeeded`: its answer is complete.
        """
        endpoint.in_flight -= 1
        if begun:
            endpoint.begun -= 1
        if self._only is None:
            endpoint.progress_at = self._now()
        if endpoint.carried > endpoint.in_flight:
            endpoint.carried = endpoint.in_flight
        if endpoint.waiting:
            endpoint.freed()
        if succeeded and endpoint.health.streak and endpoint.health.succeeded():
            self.latest._look()

    def has_other(self, tried: Sequence[Endpoint]) -> bool:
        """True if an endpoint that was not tried is in service and has room."""
        if self.successor is not None:
            return self.successor.has_other(tried)
        return any(e not in tried and self._has_room(e) for group in self._groups for e in group)

    def has_ready(self, tried: Sequence[Endpoint]) -> bool:
        """True if an endpoint that was not tried works, has room, and has not asked for a pause.
        Panic makes none ready.
        """
        latest = self.latest
        if latest._now() >= latest._look_at:
            latest._look()
        if latest.waking is not None and latest.waking.is_waking:
            return False
        probes = latest.options.health.probes
        return any(
            e not in tried
            and e.in_flight < e.max_requests
            and (
                state in _READY
                or (state is EndpointState.PROBING and e.in_flight - e.carried < probes)
            )
            for e, state in latest._states.items()
        )

    def has_ejected(self, tried: Sequence[Endpoint], *, failed: bool) -> bool:
        """True if an endpoint that was not tried is ejected for slowness and has room. With
        `failed`, endpoints ejected for failures count too.
        """
        latest = self.latest
        return any(
            state is EndpointState.EJECTED
            and (failed or e.health.slow)
            and e not in tried
            and e.in_flight < e.max_requests
            for e, state in latest._states.items()
        )

    def _choose(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
        """Return an endpoint that has room, if any, and whether one may soon have room.

        Endpoints that are out of service are used only if there is nothing to wait for.
        """
        endpoint, left = self._well(hint, tried)
        return (endpoint, left) if endpoint is not None or left else self._out(hint, tried)

    def _well(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
        """Choose like `_choose` among the endpoints in service."""
        left = False
        for group in self._groups:
            if len(group) == 1:
                endpoint = group[0]
                if endpoint in tried:
                    continue
                if self._has_room(endpoint):
                    return endpoint, True
                left = left or not self._probed(endpoint)
                continue
            candidates = [e for e in group if e not in tried] if tried else group
            free: Sequence[Endpoint]
            if self._probing:
                free = [e for e in candidates if self._has_room(e)]
            else:
                free = [e for e in candidates if e.in_flight < e.max_requests]
                if len(free) == len(group):
                    free = group  # the balancer has seen it before
            if free:
                return free[self._balancer.pick(free, hint) if len(free) > 1 else 0], True
            left = left or not all(self._probed(e) for e in candidates)
        return None, left

    def _out(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
        """Choose like `_choose` among the endpoints of last resort, without the limit on probes."""
        left = False
        for group in self._last_resort:
            candidates = [e for e in group if e not in tried]
            free = [e for e in candidates if e.in_flight < e.max_requests]
            if free:
                return free[self._balancer.pick(free, hint) if len(free) > 1 else 0], True
            left = left or bool(candidates)
        return None, left

    def _has_room(self, endpoint: Endpoint) -> bool:
        if endpoint.in_flight >= endpoint.max_requests:
            return False
        probes = endpoint.in_flight - endpoint.carried
        return not self._probed(endpoint) or probes < self.options.health.probes

    def _probed(self, endpoint: Endpoint) -> bool:
        """True if the endpoint only gets a few probes. Requests do not wait for it."""
        return self._states[endpoint] is EndpointState.PROBING and not self.panicking

    async def _wait(
        self, hint: Hint, tried: Sequence[Endpoint], longest_s: float
    ) -> Endpoint | None:
        if len(self._waiting) >= self.options.pending:
            raise UpstreamBusy
        turn: asyncio.Future[Endpoint | None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = hint, tried
        try:
            async with asyncio.timeout(longest_s):
                return await turn
        except BaseException as exc:
            self._waiting.pop(turn, None)
            if turn.done() and not turn.cancelled() and (endpoint := turn.result()) is not None:
                self.release(endpoint)  # an endpoint was assigned at the moment of the timeout
            if isinstance(exc, TimeoutError):
                raise UpstreamBusy from None
            raise

    def _hand_out(self) -> None:
        """Assign endpoints that have room to waiting requests, in order of arrival."""
        if not self._waiting:
            return
        served = []
        for turn, (hint, tried) in self._waiting.items():
            if turn.done():
                continue  # the waiter has given up
            endpoint, left = self._choose(hint, tried)
            if endpoint is None and left:
                if not tried:
                    break  # no endpoint has room
                continue  # this request has tried the endpoints that have room
            if endpoint is not None:
                endpoint.in_flight += 1
            turn.set_result(endpoint)
            served.append(turn)
        for turn in served:
            del self._waiting[turn]

    @property
    def pending(self) -> int:
        """Number of requests that wait for an endpoint with room."""
        return len(self._waiting)

    # -- results of answers ----------------------------------------------------------------

    def answered(self, endpoint: Endpoint) -> None:
        """Record that an answer began that is no server error."""
        if endpoint is self._only:
            return
        if endpoint.health.answered(self._now()):
            self.latest._look()

    def began(
        self,
        endpoint: Endpoint,
        seconds: float,
        *,
        streamed: bool = False,
        load: int = 1,
        size: int = 0,
        model: str | None = None,
    ) -> None:
        """Record the time to first byte of an answer, in seconds. See `Beginning`.

        An answer that is not `streamed` begins when it is generated completely. Its time depends
        more on the answer than on the endpoint, so it is not compared.
        """
        endpoint.begun += 1
        latest = self.latest
        if self.options.retries.hedge:
            latest.begin_s.add(seconds)
        slowness = latest._slowness
        if slowness is None or not streamed or len(latest.endpoints) == 1:
            return
        siblings = latest._siblings.get(endpoint)
        if siblings is None:
            siblings = latest._siblings[endpoint] = [
                e.key
                for e in latest.endpoints
                if e is not endpoint
                and e.priority == endpoint.priority
                and latest._states[e] in _AT_WORK
            ]
        now = self._now()
        idle_s = now - endpoint.progress_at
        beginning = Beginning(now, seconds, idle_s, load, endpoint.begun, size, model)
        endpoint.progress_at = now
        found = slowness.add(endpoint.key, beginning, siblings)
        if found is not None and latest._states.get(endpoint) in _AT_WORK:
            own_s, usual_s = found
            why = f"slow: first byte {own_s:.2g} s against {usual_s:.2g} s of its siblings"
            latest._eject(endpoint, why, slow=True)

    def failed(self, endpoint: Endpoint, why: str) -> None:
        """Record a missing answer or a server error."""
        if endpoint.health.failed(self._now()):
            self.latest._eject(endpoint, why, slow=False)

    def cool(self, endpoint: Endpoint, pause_s: float) -> None:
        """Record that the endpoint asked for a pause of `pause_s` seconds."""
        endpoint.health.cool(self._now(), pause_s)
        self.latest._look()

    def reported(self, endpoint: Endpoint, quotas: Iterable[ReportedQuota]) -> None:
        """Record what is left of the endpoint's quota."""
        now = self._now()
        before = endpoint.quota.share(now)
        endpoint.quota.learn(quotas, now)
        if endpoint.quota.share(now) != before:
            self.latest._look()

    def checked(self, endpoint: Endpoint, failure: str | None) -> None:
        """Record an active check that passed (None) or failed."""
        if endpoint.health.checked(self._now(), failure):
            self._look()
        if failure is None and self.waking is not None:
            self.waking.awake()

    def drain(self, endpoint: Endpoint, *, out: bool) -> None:
        """Take an endpoint out of service, or back in. Its requests in flight continue."""
        endpoint.health.drain(out=out)
        self._look()

    def _eject(self, endpoint: Endpoint, why: str, *, slow: bool) -> None:
        """Eject an endpoint unless too many are. One that fails replaces one that is slow."""
        if not self.options.outliers:
            return
        now = self._now()
        out = [
            other
            for other, state in self._states.items()
            if other is not endpoint and state in (EndpointState.EJECTED, EndpointState.PROBING)
        ]
        if out and len(out) + 1 > self.options.max_ejected * len(self.endpoints):
            slow_ones = [
                e for e in out if self._states[e] is EndpointState.EJECTED and e.health.slow
            ]
            if slow or not slow_ones:
                self._look()  # it stays in service, but counts as failing
                return
            slow_ones[0].health.readmit(now)
        endpoint.health.eject(now, why, slow=slow)
        self.counts.ejected += 1
        self.counts.slow += slow
        self._look()

    # -- available endpoints ---------------------------------------------------------------

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the set of endpoints. Those removed finish their requests and close."""
        gone = set(self.endpoints) - set(endpoints)
        self.endpoints = tuple(endpoints)
        for endpoint in endpoints:
            endpoint.freed, endpoint.waiting = self._hand_out, self._waiting
        for endpoint in gone:
            endpoint.pool.close()
        if self._slowness is not None:
            self._slowness.forget(endpoint.key for endpoint in gone)
        self._most_uploads = sum(min(e.max_requests, e.pool.max) for e in endpoints) // 2
        self._look()
        for follow in self.on_update:
            follow()

    def inherit(self, other: Upstream) -> None:
        """Take over the state of the upstream that this one replaces: unchanged endpoints with
        their connections, health and load, the waiting requests and the retry budget. `other` only
        finishes the requests in flight.
        """
        if not self.endpoints:
            # Discovery has found none yet: use the previous ones until then.
            endpoints = list(other.endpoints)
            other.endpoints = ()
        else:
            endpoints = self._matched(other)
        other.successor = self
        other.is_plain = False
        if other.options.balance == self.options.balance:
            self._balancer = other._balancer
        self._waiting = other._waiting
        self.budget = other.budget
        self.budget.grant(self.options.budget_share)
        self.begin_s = other.begin_s
        self.counts = other.counts
        self.uploads = other.uploads
        self.lacking = other.lacking
        self._inherit_waking(other)
        self.update(endpoints)

    def _inherit_waking(self, other: Upstream) -> None:
        before, other.waking = other.waking, None
        if before is None:
            return
        if self.waking is None:
            before.awake()
            return
        before.options, before.wake = self.waking.options, self.waking.wake
        self.waking = before

    def _matched(self, other: Upstream) -> list[Endpoint]:
        known = {endpoint.key: endpoint for endpoint in other.endpoints}
        endpoints = []
        for endpoint in self.endpoints:
            old = known.get(endpoint.key)
            if old is not None and old.signature == endpoint.signature:
                endpoint.pool.close()
                old.full_weight, old.priority = endpoint.full_weight, endpoint.priority
                old.max_requests = endpoint.max_requests
                old.health.options = endpoint.health.options
                other.let_go(old)
                endpoint = old
            endpoints.append(endpoint)
        return endpoints

    def let_go(self, endpoint: Endpoint) -> None:
        """Remove an endpoint that another upstream takes over. Its connections stay open."""
        self.endpoints = tuple(e for e in self.endpoints if e is not endpoint)

    def state(self, endpoint: Endpoint) -> EndpointState:
        """Return the state of one of the endpoints."""
        return endpoint.health.state(self._now())

    def health(self, model: str = "") -> str:
        """Return `up` if all endpoints that have this model work, `degraded` if some do, or
        `down`. `model` is the upstream's name for it; empty for any.
        """
        now, lacking = self._now(), self.lacking.get(model, ())
        working = [e.health.state(now) in _WORKING for e in self.endpoints if e not in lacking]
        if any(working):
            return "up" if all(working) else "degraded"
        return "down"

    def why(self, endpoint: Endpoint) -> str:
        """Return the reason for an endpoint's state, in words."""
        return endpoint.health.why(self._now())

    def _look(self) -> None:
        """Sort the endpoints again, by state and then by priority."""
        now = self._now()
        states = {endpoint: endpoint.health.state(now) for endpoint in self.endpoints}
        for endpoint, state in states.items():
            share = endpoint.health.share(now) * endpoint.quota.share(now)
            endpoint.weight = endpoint.full_weight * share
            endpoint.pool.opens_ahead = state in (EndpointState.HEALTHY, EndpointState.WARMING)
            if state is not self._states.get(endpoint, EndpointState.HEALTHY):
                endpoint.carried = endpoint.in_flight if state is EndpointState.PROBING else 0
                self._report(endpoint, state, endpoint.health.why(now))
        self._states = states
        self._look_at = min(
            (min(e.health.changes_at(now), e.quota.changes_at(now)) for e in self.endpoints),
            default=_NEVER,
        )
        ranking = ranked(states, self.options.panic)
        self.counts.panics += ranking.panicking and not self.panicking
        self.panicking = ranking.panicking
        self._groups, self._last_resort = ranking.in_service, ranking.last_resort
        self._probing = not self.panicking and EndpointState.PROBING in states.values()
        self._siblings.clear()
        healthy = len(states) == 1 and EndpointState.HEALTHY in states.values()
        self._only = self.endpoints[0] if healthy else None
        self.is_plain = healthy and not self.options.retries.hedge
        self._hand_out()

    def start(self) -> None:
        """Start the background activities. Needs a running event loop."""
        for part in self.parts:
            part.start()

    def close(self) -> None:
        """Stop the background activities, close idle connections. Exchanges in flight continue."""
        for part in self.parts:
            part.close()
        if self.waking is not None:
            self.waking.close()
        for endpoint in self.endpoints:
            endpoint.pool.close()
