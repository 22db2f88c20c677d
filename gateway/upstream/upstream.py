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
from gateway.upstream.latencies import Quantile, Slowness
from gateway.upstream.options import UpstreamOptions
from gateway.upstream.retry_budget import RetryBudget

_NEVER = float("inf")


class Part(Protocol):
    """Something that goes on beside the requests of an upstream."""

    def start(self) -> None:
        """Begin."""

    def close(self) -> None:
        """End."""


Report = Callable[[Endpoint, State, str], None]


@dataclass(slots=True)
class Failures:
    """How often what has failed; for the metrics."""

    ejected: int = 0
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
        self.refuses: set[str] = set()
        """Optional fields of a request that it was seen to refuse."""
        self.takes: set[str] = set()
        """And those that it was seen to take."""
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
        self._groups: tuple[tuple[Endpoint, ...], ...] = ()
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

    # -- which is next ---------------------------------------------------------------------

    async def acquire(
        self, hint: Hint, tried: Sequence[Endpoint] = (), patience_s: float | None = None
    ) -> Endpoint | None:
        """The endpoint for a request, which has to be `release`d; None if all that are any good
        were tried.

        Waits while none has room, for `patience_s` at most. Raise UpstreamBusy when too many
        wait, or for too long.
        """
        if self.successor is not None:
            return await self.successor.acquire(hint, tried, patience_s)
        endpoint, left = self._pick(hint, tried)
        if endpoint is not None:
            endpoint.in_flight += 1
            return endpoint
        if not left:
            return None
        longest_s = self.options.pending_s
        return await self._wait(
            hint, tried, longest_s if patience_s is None else min(longest_s, patience_s)
        )

    def acquire_now(self, hint: Hint, tried: Sequence[Endpoint]) -> Endpoint | None:
        """The same without waiting: None if none has room. On the path of every request."""
        if self.successor is not None:
            return self.successor.acquire_now(hint, tried)
        only = self._only
        if only is not None and only.in_flight < only.max_requests and only not in tried:
            only.in_flight += 1
            return only
        endpoint, _ = self._pick(hint, tried)
        if endpoint is not None:
            endpoint.in_flight += 1
        return endpoint

    def release(self, endpoint: Endpoint) -> None:
        """Its request has ended."""
        endpoint.in_flight -= 1
        if endpoint.carried > endpoint.in_flight:
            endpoint.carried = endpoint.in_flight
        endpoint.freed()

    def has_other(self, tried: Sequence[Endpoint]) -> bool:
        """Whether there is an endpoint that has room, beside those."""
        if self.successor is not None:
            return self.successor.has_other(tried)
        return any(e not in tried and self._has_room(e) for group in self._groups for e in group)

    def _pick(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
        """The one to use, if one has room; and whether there are any that may have it soon."""
        if self._now() >= self._look_at:
            self._look()
        return self._choose(hint, tried)

    def _choose(self, hint: Hint, tried: Sequence[Endpoint]) -> tuple[Endpoint | None, bool]:
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

    def began(self, endpoint: Endpoint, seconds: float) -> None:
        """Its answer began after so long."""
        latest = self.latest
        if latest is not self:
            latest.began(endpoint, seconds)
            return
        if self.options.retries.hedge:
            self.begin_s.add(seconds)
        slowness = self._slowness
        if slowness is None or len(self.endpoints) == 1:
            return
        slowness.add(endpoint.key, seconds)
        now = self._now()
        if slowness.due(now):
            healthy = {
                e.key: e
                for e in self.endpoints
                if self._states[e] in (State.HEALTHY, State.WARMING, State.COOLING)
            }
            for key, (own, others) in slowness.outliers(now, frozenset(healthy)).items():
                self._eject(
                    healthy[key], f"slow: begins after {own:.3g} s, its siblings {others:.3g} s"
                )

    def failed(self, endpoint: Endpoint, why: str) -> None:
        """No answer came, or one that is the backend's fault."""
        if endpoint.health.failed(self._now()):
            self.latest._eject(endpoint, why)

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

    def _eject(self, endpoint: Endpoint, why: str) -> None:
        if not self.options.outliers:
            return
        out = sum(
            state in (State.EJECTED, State.PROBING)
            for other, state in self._states.items()
            if other is not endpoint
        )
        if out and out + 1 > self.options.max_ejected * len(self.endpoints):
            return
        endpoint.health.eject(self._now(), why)
        self.counts.ejected += 1
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
        self._groups = self._grouped(states)
        healthy = len(states) == 1 and State.HEALTHY in states.values()
        self._only = self.endpoints[0] if healthy else None
        self._hand_out()

    def _grouped(self, states: dict[Endpoint, State]) -> tuple[tuple[Endpoint, ...], ...]:
        there = [e for e, state in states.items() if state is not State.DRAINING]
        well = [e for e in there if states[e] not in (State.UNHEALTHY, State.EJECTED)]
        sound = sum(states[e] is not State.PROBING for e in well)
        was, self.panicking = self.panicking, sound < self.options.panic * len(there)
        if self.panicking:
            # So few are left that the others had better try too (Envoy's panic mode). What fails
            # its checks is asked only when there is nobody else.
            well = [e for e in there if states[e] is not State.UNHEALTHY] or there
            self.counts.panics += not was
        groups = []
        for priority in sorted({e.priority for e in well}):
            group = [e for e in well if e.priority == priority]
            groups.append(tuple(e for e in group if states[e] is not State.COOLING))
        # Who asked for a pause is asked last, of any priority.
        groups.append(tuple(e for e in well if states[e] is State.COOLING))
        return tuple(group for group in groups if group)

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
