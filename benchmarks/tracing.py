"""Cost of tracing for a request and for a piece of a stream: µs of CPU more than a request id
alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from multidict import CIMultiDict

from gateway.dialects.usage_tap import UsageTap
from gateway.exchange import Exchange
from gateway.middleware.request_id import RequestId
from gateway.middleware.tracing import TraceOptions, Tracing
from gateway.outcome import EndReason
from gateway.proxy.attempt import Attempt
from gateway.request import Request
from gateway.telemetry.traces.gaps import Gaps
from gateway.telemetry.traces.recording import TraceRecords

_CALLS = 10_000
_ROUNDS = 9
_HEADERS = CIMultiDict({"Host": "llm.test"})
_ANSWER = (
    b'{"id":"c-1","model":"llama-3.1","choices":[{"message":{"role":"assistant","content":"Hello."},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":3}}'
)
_ATTEMPT = cast(
    Attempt,
    SimpleNamespace(endpoint=SimpleNamespace(url="http://10.0.0.5:8000"), number=1, status=200),
)


async def measure() -> dict[str, float]:
    """Return the cost of each operation, the minimum of several interleaved rounds."""
    records = TraceRecords()
    kinds: dict[str, RequestId | Tracing] = {
        "": RequestId(),
        "a trace that is not kept": Tracing(TraceOptions(sample=0.0), records),
        "a sampled trace, its answer read": Tracing(TraceOptions(sample=1.0), records),
    }
    least = dict.fromkeys(kinds, float("inf"))
    for _ in range(_ROUNDS):
        for name, policy in kinds.items():
            least[name] = min(least[name], _cost(policy))
            while len(records):
                records.take(records._number)
    base = least.pop("")
    found = {name: cost - base for name, cost in least.items()}
    gaps = Gaps()
    found["a sampled trace, each piece of a stream"] = min(
        _plain_cost(lambda: gaps.feed(time.perf_counter())) for _ in range(_ROUNDS)
    )
    return found


def _cost(policy: RequestId | Tracing) -> float:
    started = time.process_time()
    for _ in range(_CALLS):
        exchange = Exchange("POST", "192.0.2.1", trusted_peer=False)
        request = cast(Request, SimpleNamespace(exchange=exchange, headers=_HEADERS))
        policy.on_request(request)
        if isinstance(policy, Tracing):
            exchange.phases = (lambda ended: policy.on_report([ended]),)
        _served(request)
        exchange.end(EndReason.COMPLETE)
    return (time.process_time() - started) / _CALLS * 1e6


def _served(request: Request) -> None:
    """Record what the rest of a chain records in a trace: authentication, limits, one attempt."""
    exchange = request.exchange
    exchange.status = 200
    exchange.first_byte_at = now = time.perf_counter()
    trace = exchange.trace
    if trace is not None and trace.sampled:
        exchange.tap = UsageTap()
        exchange.tap.feed(_ANSWER)
    if trace is not None:
        for name in ("auth", "limits"):
            trace.begin(name).ended = time.perf_counter()
        trace.header_lines(1)
        trace.attempts += ((1, now, time.perf_counter(), "http://up", "main", "llama", 200, ""),)


def _plain_cost(call: Callable[[], None]) -> float:
    started = time.process_time()
    for _ in range(_CALLS):
        call()
    return (time.process_time() - started) / _CALLS * 1e6
