"""Simulation of conversations with endpoints that cache prompt prefixes, to rate the policies.

It runs in virtual time: nothing here waits, and the same seed gives the same conversations.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.upstream.balancing.balancer import Balancer, Candidate, Hint
from gateway.upstream.speed import Speed

SYSTEM_BYTES = 4096
"""Size of the system prompt that all conversations have in common."""
_BLOCK_BYTES = 64
"""Size of a cache block: 16 tokens of 4 bytes, as in vLLM."""
_OWN = 1_000_000
"""Number range of a conversation's own blocks. Conversation n has the numbers from (n + 1) times
this value.
"""
_PREFILL_BYTES_PER_S = 20_000
_DECODE_BYTES_PER_S = 300
_LATENCY_S = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """Question, answer, and the pause before the next question."""

    question_bytes: int
    answer_bytes: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns of one conversation. The prompt of each contains all turns before it."""

    begins_s: float
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of one policy's picks."""

    cached: float
    """Share of all prompt blocks that the picked endpoint had cached."""
    requests: tuple[int, ...]
    """Number of requests of each endpoint."""
    blocks: tuple[int, ...]
    in_flight: float
    """Requests in flight at all endpoints together, as a mean over time."""


def imbalance(loads: Sequence[int]) -> float:
    """Return the maximum divided by the mean; 1 means even loads."""
    return max(loads) * len(loads) / sum(loads)


def made_up(
    *, count: int = 500, turns: int = 8, within_s: float = 400.0, seed: int = 1
) -> list[Conversation]:
    """Return random conversations that begin within the first `within_s` seconds. A few messages
    are very long.
    """
    drawn = random.Random(seed)

    def size_bytes(least: int) -> int:
        return min(int(least * (1 - drawn.random()) ** (-1 / 1.3)), 8000)

    return [
        Conversation(
            drawn.uniform(0, within_s),
            tuple(
                Turn(size_bytes(60), size_bytes(200), drawn.expovariate(1 / 12))
                for _ in range(turns)
            ),
        )
        for _ in range(count)
    ]


class CachingEndpoint:
    """Endpoint with a cache of prompt blocks, which evicts the least recently used block."""

    def __init__(self, key: str, cache_blocks: int, workers: int) -> None:
        self.key = key
        self.in_flight = [0] * workers
        """Requests in flight, for each worker of the gateway."""
        self.requests = 0
        self.blocks = 0
        self._cache_blocks = cache_blocks
        self._cached: OrderedDict[int, None] = OrderedDict()

    def read(self, conversation: int, size_bytes: int) -> int:
        """Read a prompt. Return how many blocks from its beginning were cached. Afterwards all of
        its blocks are.
        """
        shared = SYSTEM_BYTES // _BLOCK_BYTES
        own = _OWN * (conversation + 1)
        blocks = [
            place if place < shared else own + place for place in range(size_bytes // _BLOCK_BYTES)
        ]
        cached = self._cached
        found = next(
            (place for place, block in enumerate(blocks) if block not in cached), len(blocks)
        )
        for block in reversed(blocks):
            cached[block] = None
            cached.move_to_end(block)
        while len(cached) > self._cache_blocks:
            cached.popitem(last=False)
        return found


class _Seen:
    """Endpoint as seen by one worker, which knows only its own requests."""

    weight = 1.0
    cost = 1.0
    speed = Speed()

    def __init__(self, endpoint: CachingEndpoint, worker: int) -> None:
        self.key = endpoint.key
        self._in_flight = endpoint.in_flight
        self._worker = worker

    @property
    def in_flight(self) -> int:
        return self._in_flight[self._worker]


class Replay:
    """Replay of conversations, with each request through a random worker."""

    def __init__(
        self,
        conversations: Sequence[Conversation],
        balancers: Sequence[Balancer],
        *,
        endpoints: int = 4,
        cache_blocks: int = 4000,
    ) -> None:
        self._conversations = conversations
        self._balancers = balancers
        """Balancers, one for each worker."""
        workers = len(balancers)
        self._endpoints = [
            CachingEndpoint(f"http://10.0.0.{number}:8000", cache_blocks, workers)
            for number in range(endpoints)
        ]
        self._seen: list[list[Candidate]] = [
            [_Seen(endpoint, worker) for endpoint in self._endpoints] for worker in range(workers)
        ]
        self._drawn = random.Random(2)
        system = b'{"role":"system","content":"%b"}' % self._text(SYSTEM_BYTES)
        self._messages = [[system] for _ in conversations]
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._cached_blocks = 0
        self._busy_s = 0.0

    def run(self) -> Outcome:
        """Run until the last answer, and return the outcome."""
        for number, conversation in enumerate(self._conversations):
            self._at(conversation.begins_s, partial(self._ask, number, 0))
        now_s = 0.0
        while self._events:
            now_s, _, happen = heapq.heappop(self._events)
            happen(now_s)
        blocks = tuple(endpoint.blocks for endpoint in self._endpoints)
        return Outcome(
            cached=self._cached_blocks / sum(blocks),
            requests=tuple(endpoint.requests for endpoint in self._endpoints),
            blocks=blocks,
            in_flight=self._busy_s / now_s,
        )

    def _at(self, when_s: float, happen: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when_s, self._count, happen))

    def _ask(self, number: int, place: int, now_s: float) -> None:
        turn = self._conversations[number].turns[place]
        messages = self._messages[number]
        messages.append(b'{"role":"user","content":"%b"}' % self._text(turn.question_bytes))
        body = b'{"model":"m","messages":[%b],"stream":true}' % b",".join(messages)
        worker = self._drawn.randrange(len(self._balancers))
        picked = self._balancers[worker].pick(
            self._seen[worker], Hint(key=f"conversation-{number}", body=body)
        )
        endpoint = self._endpoints[picked]
        size_bytes = sum(map(len, messages))
        blocks = size_bytes // _BLOCK_BYTES
        cached = endpoint.read(number, size_bytes)
        self._cached_blocks += cached
        endpoint.blocks += blocks
        endpoint.requests += 1
        endpoint.in_flight[worker] += 1
        lasts_s = (
            _LATENCY_S
            + (blocks - cached) * _BLOCK_BYTES / _PREFILL_BYTES_PER_S
            + turn.answer_bytes / _DECODE_BYTES_PER_S
        )
        self._busy_s += lasts_s

        def answer(now_s: float) -> None:
            endpoint.in_flight[worker] -= 1
            text = self._text(turn.answer_bytes)
            messages.append(b'{"role":"assistant","content":"%b"}' % text)
            endpoint.read(number, sum(map(len, messages)))
            if place + 1 < len(self._conversations[number].turns):
                self._at(now_s + turn.pause_s, partial(self._ask, number, place + 1))

        self._at(now_s + lasts_s, answer)

    def _text(self, size_bytes: int) -> bytes:
        return self._drawn.randbytes(size_bytes // 2).hex().encode()
