"""Model servers on a virtual clock behind a real `Upstream`: what is ejected, and when. No I/O."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from gateway.upstream.balancing.balancer import Balancer, Hint
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.health import Health, HealthOptions, State
from gateway.upstream.latencies import SlownessOptions
from gateway.upstream.options import Timeouts, UpstreamOptions
from gateway.upstream.pool import EndpointPool, parse_address
from gateway.upstream.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: its prompt in bytes, and the tokens that its answer takes."""

    prompt_bytes: int
    tokens: int
    streamed: bool = True


@dataclass(slots=True)
class ModelServer:
    """A server like llama.cpp: `slots` generations at once, the others wait for a slot."""

    slots: int = 4
    start_s: float = 0.1
    per_kib_s: float = 0.02
    """Reading the prompt."""
    per_token_s: float = 0.02
    slowdown: float = 1.0
    """Factor on all of these; changes while it runs."""
    busy: int = 0
    queue: deque[Callable[[], None]] = field(default_factory=deque)

    def first_byte_s(self, ask: Ask) -> float:
        """From a free slot to the first token."""
        return self.slowdown * (self.start_s + self.per_kib_s * ask.prompt_bytes / 1024)

    def generation_s(self, ask: Ask) -> float:
        """From the first token to the last."""
        return self.slowdown * self.per_token_s * ask.tokens


class World:
    """Servers, an upstream that has them as endpoints, and the time."""

    def __init__(
        self,
        servers: list[ModelServer],
        *,
        seed: int = 0,
        balancer: Balancer | None = None,
        workers: int = 1,
        **options: Any,
    ) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.ejections: list[tuple[float, int, str]] = []
        """Seconds, the number of the server, and why."""
        self.states: list[tuple[float, int, State]] = []
        self.answered = 0
        self.servers = servers
        self.upstreams = [Upstream(
            "main",
            UpstreamOptions(
                Timeouts(1.0, 60.0, 300.0), frozenset(), slowness=SlownessOptions(), **options
            ),
            balancer or LeastRequests(self.random.random),
            [_endpoint(number) for number in range(len(servers))],
            now=lambda: self.now,
            report=self._report,
        ) for _ in range(workers)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (when, next(self._numbers), what))

    def offer(self, asks: Iterator[tuple[float, Ask]]) -> None:
        """Requests, each with the seconds since the one before it."""

        def one(ask: Ask) -> None:
            self.send(ask)
            following()

        def following() -> None:
            pause_s, ask = next(asks)
            self.at(self.now + pause_s, lambda: one(ask))

        following()

    def send(self, ask: Ask, then: Callable[[], None] = lambda: None) -> None:
        """Send a request where the upstream says; `then` is called at its end."""
        upstream = self.random.choice(self.upstreams)
        endpoint = upstream.acquire_now(Hint(), ())
        assert endpoint is not None
        server, load, sent_at = self.servers[endpoint.full_weight and number_of(endpoint)], endpoint.in_flight, self.now

        def start() -> None:
            server.busy += 1
            self.at(self.now + server.first_byte_s(ask), begin)

        def begin() -> None:
            upstream.answered(endpoint)
            upstream.began(
                endpoint,
                self.now - sent_at,
                streamed=ask.streamed,
                load=load,
                size=ask.prompt_bytes,
            )
            self.at(self.now + server.generation_s(ask), end)

        def end() -> None:
            server.busy -= 1
            self.answered += 1
            upstream.release(endpoint)
            upstream.succeeded(endpoint)
            if server.queue:
                server.queue.popleft()()
            then()

        if server.busy < server.slots:
            start()
        else:
            server.queue.append(start)

    def run(self, until_s: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until_s:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until_s

    def _report(self, endpoint: Endpoint, state: State, why: str) -> None:
        number = number_of(endpoint)
        self.states.append((self.now, number, state))
        if state is State.EJECTED:
            self.ejections.append((self.now, number, why))


def _endpoint(number: int) -> Endpoint:
    address = parse_address(f"http://10.0.0.{number}:8000", None, None)
    return Endpoint(
        EndpointPool(address, max_connections=1000, keepalive_s=1.0),
        Health(HealthOptions()),
        weight=1,
        priority=0,
        max_requests=1000,
        fixed_lines=b"",
    )


def number_of(endpoint):
    return int(endpoint.key.split(".")[3].split(":")[0])
