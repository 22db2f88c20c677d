"""Simulated model servers behind a real `Upstream`, in virtual time: shows ejections. No I/O."""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

from gateway.load.turn_writes import TurnWrites
from gateway.upstream.address import parse_address
from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.dialer import Dialer
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import EndpointState, Health, HealthOptions
from gateway.upstream.options import Timeouts, UpstreamOptions
from gateway.upstream.pool import EndpointPool
from gateway.upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Ask:
    """Request: the size of its prompt in bytes, and the number of tokens of its answer."""

    prompt_bytes: int
    tokens: int
    streamed: bool = True


@dataclass(slots=True)
class ModelServer:
    """Server like llama.cpp: `slots` generations run at once, and others wait for a slot."""

    slots: int = 4
    start_s: float = 0.1
    per_kib_s: float = 0.02
    """Seconds to read one KiB of the prompt."""
    per_token_s: float = 0.02
    slowdown: float = 1.0
    """Factor for all these times. May change at any time."""
    busy: int = 0
    queue: deque[Callable[[], None]] = field(default_factory=deque)

    def first_byte_s(self, ask: Ask) -> float:
        """Return the seconds from getting a slot to the first token."""
        return self.slowdown * (self.start_s + self.per_kib_s * ask.prompt_bytes / 1024)

    def generation_s(self, ask: Ask) -> float:
        """Return the seconds from the first token to the last."""
        return self.slowdown * self.per_token_s * ask.tokens


class World:
    """Simulation of servers, and of the upstreams of one or several workers, with the time in
    seconds.
    """

    def __init__(
        self,
        servers: list[ModelServer],
        *,
        seed: int = 0,
        workers: int = 1,
        balancer: Callable[[Callable[[], float]], Balancer] = LeastRequests,
    ) -> None:
        """Create the simulation. `balancer` takes a source of random numbers; each worker gets its
        own balancer.
        """
        self.now = 0.0
        self.random = random.Random(seed)
        self.servers = servers
        self.states: list[tuple[float, int, EndpointState]] = []
        """State changes: time, number of the server, and new state."""
        self.reasons: list[str] = []
        """Reasons of the ejections."""
        self.begun: Counter[int] = Counter()
        """Number of answers that have begun, by server."""
        self.answered = 0
        self._workers = [self._worker(balancer(self.random.random)) for _ in range(workers)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def ejected_at(self, number: int) -> list[float]:
        """Return the times at which a server was ejected."""
        ejected = EndpointState.EJECTED
        return [at for at, which, state in self.states if (which, state) == (number, ejected)]

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Schedule a function for a time."""
        heapq.heappush(self._events, (when, next(self._numbers), what))

    def offer(self, asks: Iterator[tuple[float, Ask]]) -> None:
        """Send requests. Each comes with the seconds since the previous one."""
        pause_s, ask = next(asks)

        def one() -> None:
            self.send(ask)
            self.offer(asks)

        self.at(self.now + pause_s, one)

    def send(self, ask: Ask) -> None:
        """Send one request to the endpoint that a random worker picks."""
        upstream = self.random.choice(self._workers)
        endpoint = upstream.acquire_now(Hint(), ())
        assert endpoint is not None
        number = upstream.endpoints.index(endpoint)
        server = self.servers[number]
        sent_at, load = self.now, endpoint.in_flight

        def start() -> None:
            server.busy += 1
            self.at(self.now + server.first_byte_s(ask), begin)

        def tell() -> None:
            upstream.began(
                endpoint,
                self.now - sent_at,
                streamed=ask.streamed,
                load=load,
                size=ask.prompt_bytes,
            )

        def begin() -> None:
            self.begun[number] += 1
            upstream.answered(endpoint)
            if ask.streamed:
                tell()
            self.at(self.now + server.generation_s(ask), end)

        def end() -> None:
            if not ask.streamed:
                tell()
            server.busy -= 1
            self.answered += 1
            upstream.release(endpoint, begun=True, succeeded=True)
            if server.queue:
                server.queue.popleft()()

        if server.busy < server.slots:
            start()
        else:
            server.queue.append(start)

    def run(self, until_s: float) -> None:
        """Run the simulation up to a time."""
        while self._events and self._events[0][0] <= until_s:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until_s

    def _worker(self, balancer: Balancer) -> Upstream:
        endpoints = [endpoint(number) for number in range(len(self.servers))]

        def report(which: Endpoint, state: EndpointState, why: str) -> None:
            self.states.append((self.now, endpoints.index(which), state))
            if state is EndpointState.EJECTED:
                self.reasons.append(why)

        options = UpstreamOptions(Timeouts(1.0, 60.0, 300.0), frozenset())
        return Upstream("main", options, balancer, endpoints, now=lambda: self.now, report=report)


def endpoint(number: int) -> Endpoint:
    """Return an endpoint whose pool is never used."""
    address = parse_address(f"http://10.0.0.{number}:8000", None, None)
    return Endpoint(
        EndpointPool(Dialer(address), max_connections=1000, keepalive_s=1.0, writes=TurnWrites()),
        Health(HealthOptions()),
        full_weight=1,
        priority=0,
        max_requests=1000,
        fixed_lines=b"",
    )


def chat(source: random.Random) -> Ask:
    """Return a random request of mixed traffic: prompts of 0.1 to 200 KiB and answers of 5 to 2000
    tokens, both log-normal. One in four is not streamed.
    """
    return Ask(
        min(200 * 1024, max(100, int(source.lognormvariate(7.5, 1.5)))),
        min(2000, max(5, int(source.lognormvariate(4.5, 1.2)))),
        source.random() < 0.75,
    )


SECONDS_OF_WORK = 3.6
"""Average time for which a `chat` request occupies a slot."""


def arrivals(source: random.Random, per_s: float) -> Iterator[tuple[float, Ask]]:
    """Yield requests of a Poisson process, each with the seconds since the previous one."""
    while True:
        yield source.expovariate(per_s), chat(source)


def bursts(source: random.Random, every_s: float, size: int) -> Iterator[tuple[float, Ask]]:
    """Yield bursts of `size` simultaneous requests, at random intervals."""
    while True:
        yield source.expovariate(1 / every_s), chat(source)
        for _ in range(size - 1):
            yield 0.0, chat(source)
