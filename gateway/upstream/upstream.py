"""An upstream: its endpoints, which of them is next, and what is learnt from each answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import UpstreamBusy
from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import State
from gateway.upstream.latencies import Beginning, Quantile, Slowness
from gateway.upstream.optional_fields import OptionalFields
from gateway.upstream.options import UpstreamOptions
from gateway.upstream.retry_budget import RetryBudget

_NEVER = float("inf")
_AT_WORK = (State.HEALTHY, State.WARMING, State.COOLING)
"""States in which an endpoint serves whatever comes, so that its answers can be compared."""


class Part(Protocol):
    """Something that goes on beside the requests of an upstream."""

    def start(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End."""


Groups = tuple[tuple[Endpoint, ...], ...]
Report = Callable[[Endpoint, State, str], None]


@dataclass(slots=True)
class Failures:
    """How often what has failed; for the metrics."""

    ejected: int = 0
    slow: int = 0
    """How many of the ejections were for slowness."""
    panics: int = 0
    retries: int = 0
    hedges: int = 0


class Upstream:
    """Endpoints of one backend, alike but for weight and priority."""

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
        """`now` is the event loop's clock; `report` is told when an endpoint's state changes."""
        self.name = name
        self.options = options
        self.budget = RetryBudget(options.budget_share, options.budget_reserve)
        self.begin_s = Quantile()
        """What it takes from sending to the first byte."""
        self.counts = Failures()
        self.panicking = False
        self.fields = OptionalFields()
        self.uploads = 0
        """Requests whose body is still on its way."""
        self._most_uploads = 0
        self._only: Endpoint | None = None
        """The endpoint, if there is one alone and nothing is wrong with it."""
        self.successor: Upstream | None = None
        """The one that has taken over its endpoints."""
        self.on_update: Callable[[], None] = lambda: None
        """Called when there are other endpoints than before."""
        self.parts: list[Part] = []
        """What goes on beside its requests: checks, discovery."""
        self.endpoints: tuple[Endpoint, ...] = ()
        self._balancer = balancer
        self._now = now
        self._report = report
        self._slowness = Slowness(options.slowness) if options.slowness is not None else None
        self._groups: Groups = ()
        """Endpoints that are well, in the order in which they are asked."""
        self._last_resort: Groups = ()
        """Endpoints that are ejected, unhealthy or half-open: asked before a request is refused."""
        self._states: dict[Endpoint, State] = {}
        self._look_at = 0.0
        self._waiting: dict[asyncio.Future[Endpoint | None], tuple[Hint, Sequence[Endpoint]]] = {}
        self.update(endpoints)

    @property
    def latest(self) -> Upstream:
        """This one, or the one that has its endpoints now."""
        upstream = self
        while upstream.successor is not None:
            upstream = upstream.successor
        return upstream

    @property
    def asks_how_soon(self) -> bool:
        """Whether anybody looks at when answers begin."""
        return self._only is None or self.options.retries.hedge

    @property
    def is_full_of_uploads(self) -> bool:
        """Whether bodies that are still on their way take half of the room there is, so that the
        next one has to be complete before it is sent. Slow clients cannot take the rest.
        """
        return self.uploads >= self._most_uploads

    # -- which is next ---------------------------------------------------------------------

    async def acquire(
        self, hint: Hint, tried: Sequence[Endpoint] = (), patience_s: float | None = None
    ) -> Endpoint | None:
        """The endpoint for a request, which has to be `release`d; None if all were tried.

        Waits while none that is well has room, for `patience_s` at most. An endpoint that is out
        is returned where the alternative is to refuse the request. Raise UpstreamBusy when too
        many wait, or for too long, and none that is out has room either.
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
        """An endpoint that is well, without waiting: None if none has room. On the path of every
        request.
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

    def release(self, endpoint: Endpoint, *, begun: bool = False) -> None:
        """Its request has ended. `begun`: its answer was told of by `began`."""
        endpoint.in_flight -= 1
        if begun:
            endpoint.begun -= 1
        if self._only is None:
            endpoint.progress_at = self._now()
        if endpoint.carried > endpoint.in_flight:
            endpoint.carried = endpoint.in_flight
        endpoint.freed()

    def has_other(self, tried: Sequence[Endpoint]) -> bool:
        """Whether there is an endpoint beside those that is well and has room."""
        if self.successor is not None:
            return self.successor.has_other(tried)
        return any(e not in tried and self._has_room(e) for group in self._groups for e in group)

    def has_ejected(self, tried: Sequence[Endpoint], *, failed: bool) -> bool:
        """Whether an endpoint that was not tried is ejected for slowness and has room; with
        `failed`, for failures too.
        """
        latest = self.latest
        return any(
            state is State.EJECTED
            and (failed or e.health.slow)
            and e not in tried
            and e.in_flight < e.max_requests
            for e, state in latest._states.items()
        )

    def _choose(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
        """The endpoint to use, if one has room; and whether there are any that may have it soon.

        One that is out is used only where there is nothing to wait for.
        """
        endpoint, left = self._well(hint, tried)
        return (endpoint, left) if endpoint is not None or left else self._out(hint, tried)

    def _well(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
        """Like `_choose`, among the endpoints that are well."""
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
            free = [e for e in candidates if self._has_room(e)]
            if free:
                return free[self._balancer.pick(free, hint) if len(free) > 1 else 0], True
            left = left or not all(self._probed(e) for e in candidates)
        return None, left

    def _out(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
        """Like `_choose`, among those of the last resort. Probes are not limited here."""
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
        """Whether it gets a few requests only, that find out how it is: nobody waits for it."""
        return self._states[endpoint] is State.PROBING and not self.panicking

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
                self.release(endpoint)  # it was its turn in this very moment
            if isinstance(exc, TimeoutError):
                raise UpstreamBusy from None
            raise

    def _hand_out(self) -> None:
        """Give what has room to those who wait, in their order."""
        if not self._waiting:
            return
        served = []
        for turn, (hint, tried) in self._waiting.items():
            if turn.done():
                continue  # it has given up
            endpoint, left = self._choose(hint, tried)
            if endpoint is None and left:
                if not tried:
                    break  # nobody has room
                continue  # those who have were tried
            if endpoint is not None:
                endpoint.in_flight += 1
            turn.set_result(endpoint)
            served.append(turn)
        for turn in served:
            del self._waiting[turn]

    @property
    def pending(self) -> int:
        """Requests that wait for room."""
        return len(self._waiting)

    # -- what answers tell -----------------------------------------------------------------

    def answered(self, endpoint: Endpoint) -> None:
        """An answer began that is not an error of the backend's."""
        if endpoint is self._only:
            return
        if endpoint.health.answered(self._now()):
            self.latest._look()

    def succeeded(self, endpoint: Endpoint) -> None:
        """An answer came to its end."""
        if endpoint.health.succeeded():
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
        """The first byte of its answer came after so long. See `Beginning`.

        What is not `streamed` begins when all of it was generated: how long that takes says more
        about the answer than about the endpoint.
        """
        endpoint.begun += 1
        latest = self.latest
        if self.options.retries.hedge:
            latest.begin_s.add(seconds)
        slowness = latest._slowness
        if slowness is None or not streamed or len(latest.endpoints) == 1:
            return
        siblings = [
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
        """No answer came, or one that is the backend's fault."""
        if endpoint.health.failed(self._now()):
            self.latest._eject(endpoint, why, slow=False)

    def cool(self, endpoint: Endpoint, pause_s: float) -> None:
        """It asked for a pause."""
        endpoint.health.cool(self._now(), pause_s)
        self.latest._look()

    def checked(self, endpoint: Endpoint, failure: str | None) -> None:
        """An active check passed (None) or failed."""
        if endpoint.health.checked(self._now(), failure):
            self._look()

    def drain(self, endpoint: Endpoint, *, out: bool) -> None:
        """An operator takes it out, or lets it back in. What it carries goes on."""
        endpoint.health.drain(out=out)
        self._look()

    def _eject(self, endpoint: Endpoint, why: str, *, slow: bool) -> None:
        """Take it out if not too many are. One that fails takes the place of one that is slow."""
        if not self.options.outliers:
            return
        now = self._now()
        out = [
            other
            for other, state in self._states.items()
            if other is not endpoint and state in (State.EJECTED, State.PROBING)
        ]
        if out and len(out) + 1 > self.options.max_ejected * len(self.endpoints):
            slow_ones = [e for e in out if self._states[e] is State.EJECTED and e.health.slow]
            if slow or not slow_ones:
                self._look()  # it stays in, but is known to fail
                return
            slow_ones[0].health.readmit(now)
        endpoint.health.eject(now, why, slow=slow)
        self.counts.ejected += 1
        self.counts.slow += slow
        self._look()

    # -- who is available ------------------------------------------------------------------

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Another set of endpoints. Those that are gone end when they are idle."""
        gone = set(self.endpoints) - set(endpoints)
        self.endpoints = tuple(endpoints)
        for endpoint in endpoints:
            endpoint.freed = self._hand_out
        for endpoint in gone:
            endpoint.pool.close()
        if self._slowness is not None:
            self._slowness.forget(endpoint.key for endpoint in gone)
        self._most_uploads = sum(min(e.max_requests, e.pool.max) for e in endpoints) // 2
        self._look()
        self.on_update()

    def inherit(self, other: Upstream) -> None:
        """Take over what another knows, whose place this one takes: endpoints that are the same,
        with their connections, health and load, who waits for them, and the budget. `other` is for
        what is under way.
        """
        if not self.endpoints:
            # They are yet to be discovered: until then, those that were.
            endpoints = list(other.endpoints)
            other.endpoints = ()
        else:
            endpoints = self._matched(other)
        other.successor = self
        if other.options.balance == self.options.balance:
            self._balancer = other._balancer
        self._waiting = other._waiting
        self.budget = other.budget
        self.budget.share = self.options.budget_share
        self.begin_s = other.begin_s
        self.counts = other.counts
        self.uploads = other.uploads
        self.update(endpoints)

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
        """Somebody else's from now on; its connections stay."""
        self.endpoints = tuple(e for e in self.endpoints if e is not endpoint)

    def state(self, endpoint: Endpoint) -> State:
        """Of one of its endpoints."""
        return endpoint.health.state(self._now())

    def why(self, endpoint: Endpoint) -> str:
        """For people: why an endpoint is in its state."""
        return endpoint.health.why(self._now())

    def _look(self) -> None:
        """Sort the endpoints anew: by what they are good for, then by priority."""
        now = self._now()
        states = {endpoint: endpoint.health.state(now) for endpoint in self.endpoints}
        for endpoint, state in states.items():
            endpoint.weight = endpoint.full_weight * endpoint.health.share(now)
            if state is not self._states.get(endpoint, State.HEALTHY):
                endpoint.carried = endpoint.in_flight if state is State.PROBING else 0
                self._report(endpoint, state, endpoint.health.why(now))
        self._states = states
        self._look_at = min((e.health.changes_at(now) for e in self.endpoints), default=_NEVER)
        self._sort(states)
        healthy = len(states) == 1 and State.HEALTHY in states.values()
        self._only = self.endpoints[0] if healthy else None
        self._hand_out()

    def _sort(self, states: dict[Endpoint, State]) -> None:
        there = [e for e, state in states.items() if state is not State.DRAINING]
        unhealthy = [e for e in there if states[e] is State.UNHEALTHY]
        failed = [e for e in there if states[e] is State.EJECTED and not e.health.slow]
        slow = [e for e in there if states[e] is State.EJECTED and e.health.slow]
        well = [e for e in there if states[e] not in (State.UNHEALTHY, State.EJECTED)]
        sound = sum(states[e] is not State.PROBING and not e.health.failing for e in well)
        enough = self.options.panic * len(there)
        was, self.panicking = self.panicking, sound < enough
        if self.panicking:
            # Those that are left could not carry the load, so that others have to try (Envoy's
            # panic mode): the slow ones first, since they answer.
            self.counts.panics += not was
            sound += len(slow)
            well, slow = well + slow, []
            if sound < enough:
                well, failed = well + failed, []
        groups = []
        for priority in sorted({e.priority for e in well}):
            group = [e for e in well if e.priority == priority]
            groups.append(tuple(e for e in group if states[e] is not State.COOLING))
        # Who asked for a pause is asked last, of any priority.
        groups.append(tuple(e for e in well if states[e] is State.COOLING))
        self._groups = tuple(group for group in groups if group)
        probing = [e for e in well if states[e] is State.PROBING]
        out = (tuple(group) for group in (slow, probing, failed, unhealthy))
        self._last_resort = tuple(group for group in out if group)

    def start(self) -> None:
        """Begin what goes on beside requests; there is an event loop now."""
        for part in self.parts:
            part.start()

    def close(self) -> None:
        """End that, and close idle connections; exchanges under way go on."""
        for part in self.parts:
            part.close()
        for endpoint in self.endpoints:
            endpoint.pool.close()
