"""Cost of a pick for each balancing policy, and the share of each prompt that it finds cached."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.conversations import Replay, imbalance, made_up
from gateway.upstream.balancing.balancer import Balancer, Candidate, Hint
from gateway.upstream.balancing.consistent_hash import ConsistentHash
from gateway.upstream.balancing.least_requests import LeastRequests
from gateway.upstream.balancing.prefix_affinity import PrefixAffinity
from gateway.upstream.balancing.round_robin import RoundRobin
from gateway.upstream.balancing.weighted_random import Random
from gateway.upstream.speed import Speed

_SIZES = (2, 8, 64)
_ROUNDS = 5
_BODIES = {"4 KiB": 4 * 1024, "64 KiB": 64 * 1024, "256 KiB": 256 * 1024}
_POLICIES: Mapping[str, Callable[[], Balancer]] = {
    "random": Random,
    "round robin": RoundRobin,
    "least requests": LeastRequests,
    "consistent hash": ConsistentHash,
}

Costs = dict[str, dict[int, float]]
"""µs for a pick, by policy and number of endpoints."""
Trace = dict[str, tuple[float, float]]
"""Percentage of prompt blocks found cached, and the requests of the busiest endpoint divided by the
mean.
"""


class _Endpoint:
    """Endpoint as seen by a policy. Reading it costs as much as reading a real one."""

    def __init__(self, number: int) -> None:
        self.key = f"http://10.0.0.{number}:8000"
        self.weight = 1.0 + number % 2
        self.speed = Speed()
        self.cost = 1.0
        self._in_flight = 4 + number * 7 % 3

    @property
    def in_flight(self) -> int:
        return self._in_flight


def measure() -> tuple[Costs, Trace]:
    """Measure all policies. Takes half a minute."""
    keys = [Hint(key=f"user-{number}") for number in range(1000)]
    costs = {name: _by_size(policy, keys, 20_000) for name, policy in _POLICIES.items()}
    for name, size_bytes in _BODIES.items():
        hints = [Hint(body=_body(number, size_bytes)) for number in range(50)]
        count = 4_000_000 // (size_bytes + 1000)
        costs[f"prefix affinity, {name}"] = _by_size(PrefixAffinity, hints, count)
    return costs, _trace()


def render(costs: Costs, trace: Trace) -> str:
    """Return two tables: costs, and cache hits."""
    heads = " | ".join(f"{size} endpoints" for size in _SIZES)
    lines = [f"| µs a pick | {heads} |", "|---|" + "---:|" * len(_SIZES)]
    lines += [
        f"| {name} | " + " | ".join(f"{found[size]:.1f}" for size in _SIZES) + " |"
        for name, found in costs.items()
    ]
    lines += ["", "| 500 conversations of 8 turns | cached | busiest / mean |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {cached:.1f} % | {uneven:.2f} |" for name, (cached, uneven) in trace.items()
    ]
    return "\n".join(lines)


def _by_size(policy: Callable[[], Balancer], hints: Sequence[Hint], count: int) -> dict[int, float]:
    return {size: _cost_us(policy(), size, hints, count) for size in _SIZES}


def _cost_us(balancer: Balancer, size: int, hints: Sequence[Hint], count: int) -> float:
    """Return µs for a pick, the minimum of several rounds, since other work only adds time."""
    candidates: list[Candidate] = [_Endpoint(number) for number in range(size)]
    for hint in hints:
        balancer.pick(candidates, hint)
    found = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for hint in itertools.islice(itertools.cycle(hints), count):
            balancer.pick(candidates, hint)
        found.append((time.process_time() - started) / count * 1e6)
    return min(found)


def _body(number: int, size_bytes: int) -> bytes:
    """Return the body of one of several conversations with the same system prompt of 1 KiB."""
    drawn = random.Random(number)
    messages = [{"role": "system", "content": "You are. " * 113}]
    size = 1024
    while size < size_bytes:
        role = "assistant" if messages[-1]["role"] == "user" else "user"
        messages.append({"role": role, "content": drawn.randbytes(240).hex()})
        size += 512
    return json.dumps({"model": "m", "messages": messages, "stream": True}).encode()


def _trace() -> Trace:
    conversations = made_up()
    draw = random.Random(7).random
    picked: dict[str, Sequence[Balancer]] = {
        "random": [Random(draw)],
        "round robin": [RoundRobin()],
        "least requests": [LeastRequests(draw)],
        "consistent hash of a conversation's id": [ConsistentHash()],
        "prefix affinity": [PrefixAffinity()],
        "prefix affinity, 2 workers": [PrefixAffinity(), PrefixAffinity()],
        "prefix affinity, 1.5 times its share in flight": [PrefixAffinity(slack=1.5)],
    }
    outcomes = {name: Replay(conversations, balancers).run() for name, balancers in picked.items()}
    outcomes["one endpoint that forgets nothing"] = Replay(
        conversations, [RoundRobin()], endpoints=1, cache_blocks=10**9
    ).run()
    return {
        name: (100 * outcome.cached, imbalance(outcome.requests))
        for name, outcome in outcomes.items()
    }
