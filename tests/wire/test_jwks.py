"""K1 to K4: an issuer whose keys fail, hang, rotate or were never there, over the wire.

The key set's clock is the test's own, so that ten minutes pass between two requests; sockets,
timeouts and the event loop run by the real one.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial

import jwt
import pytest

from gateway.auth.key_sets import RemoteKeySet
from tests.support.client import RawClient, request
from tests.support.door import guarded, with_token
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.issuer import FAILURES, Issuer
from tests.support.loop_hold import LoopHold
from tests.support.refusal import assert_error
from tests.support.tokens import SECRET
from tests.support.upstream import ScriptedUpstream
from tests.support.waiting import PATIENCE_S, SLACK_S

# What is promised: how often keys are fetched, how long old ones serve, how soon a failed fetch is
# tried again, and how often an unknown kid may cause one.
FRESH_S, STALE_S, RETRY_S, UNKNOWN_KID_S = 600.0, 3600.0, 1.0, 30.0
FETCH_S = 1.0
"""Time limit of a fetch here. It is longer than a busy machine halts a process."""


class Clock:
    """What key sets go by; it stands still unless it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    async def until(
        self, happened: Callable[[], Awaitable[bool]], *, step_s: float, at_most_s: float
    ) -> float:
        """Move on, step by step, until that has happened; how many seconds that took.

        At the end of the time it is given the clock stops: what is due by then may take a moment.
        """
        began_s = self.now_s
        async with asyncio.timeout(PATIENCE_S):
            while not await happened():
                self.now_s = min(self.now_s + step_s, began_s + at_most_s)
        return self.now_s - began_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gateway.wiring.auth.RemoteKeySet", partial(RemoteKeySet, now=clock))
    return clock


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as issuer:
        issuer.add_key("a")
        yield issuer


async def status(gateway: RunningGateway, token: str) -> int:
    return (await with_token(gateway, token)).status


def answers(gateway: RunningGateway, token: str, wanted: int) -> Callable[[], Awaitable[bool]]:
    """Asks with this token, and says whether that was the answer."""

    async def asked() -> bool:
        return await status(gateway, token) == wanted

    return asked


def fetches_time_out_after(monkeypatch: pytest.MonkeyPatch, timeout_s: float) -> None:
    """Give up sooner, so that an issuer can hang many times in a short test."""
    monkeypatch.setattr("gateway.auth.key_sets._TIMEOUT_S", timeout_s)


# -- the issuer fails --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", FAILURES)
async def test_k1_valid_tokens_pass_while_the_issuer_fails_for_ten_minutes(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    report: Report,
) -> None:
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    known = issuer.token("a")
    fresh = [issuer.token("a", sub=f"user-{number}") for number in range(60)]
    stranger = issuer.token("a", header={"kid": "unknown"})
    assert await status(gateway, known) == 200
    assert issuer.hits["/keys"] == 1
    issuer.mode = mode
    fetches_time_out_after(monkeypatch, FETCH_S)
    clock.now_s += FRESH_S
    valid: Counter[int] = Counter()
    unknown: Counter[int] = Counter()
    looking: list[asyncio.Task[int]] = []
    async with LoopHold(time.perf_counter) as stall:
        for token in fresh:
            # Whoever brings an unknown kid makes it look again, and waits for that.
            looking.append(asyncio.create_task(status(gateway, stranger)))
            valid.update([await status(gateway, known), await status(gateway, token)])
            clock.now_s += 10.0
            if len(looking) == 20:
                unknown.update(await asyncio.gather(*looking))
                looking.clear()
    failed = issuer.hits["/keys"] - 1
    report("K1", f"{mode}: valid tokens that passed, %", 100 * valid[200] / valid.total())
    report("K1", f"{mode}: longest stall of the loop, ms", stall.longest_s * 1e3)
    report("K1", f"{mode}: fetches that failed in 10 min", failed)
    assert valid == {200: 120}
    assert unknown == {503: 60}
    assert len(upstream.requests) == 121
    assert failed >= 3  # it did look, again and again
    assert issuer.hits["/elsewhere"] == 0
    assert stall.longest_s < FETCH_S  # a fetch that blocked would be longer
    issuer.mode = "ok"
    await clock.until(answers(gateway, stranger, 401), step_s=RETRY_S, at_most_s=FRESH_S)


async def test_k1_after_an_hour_of_failures_it_is_503_and_not_401(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    clock: Clock,
    report: Report,
) -> None:
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    known, fresh = issuer.token("a"), issuer.token("a", sub="bob")
    assert await status(gateway, known) == 200
    issuer.mode = "500"
    passed_s = await clock.until(answers(gateway, known, 503), step_s=60.0, at_most_s=STALE_S)
    report("K1", "stale keys served, s", passed_s)
    assert passed_s == STALE_S
    assert await status(gateway, fresh) == 503
    issuer.mode = "ok"
    clock.now_s += RETRY_S
    assert await status(gateway, fresh) == 200
    assert await status(gateway, known) == 200


async def test_k1_tokens_of_another_issuer_pass_while_one_hangs(
    start_gateway: StartGateway, upstream: ScriptedUpstream, issuer: Issuer, report: Report
) -> None:
    async with Issuer() as other:
        other.add_key("b")
        issuer.mode = "hang"
        auth = {"one": issuer.provider()["corp"], "two": other.provider()["corp"]}
        gateway = await start_gateway(guarded(upstream, auth))
        latencies_s = []
        for number in range(20):
            began = time.perf_counter()
            assert await status(gateway, other.token("b", sub=f"user-{number}")) == 200
            latencies_s.append(time.perf_counter() - began)
        assert issuer.hits["/keys"] == 1
    report("K1", "another issuer's token while one hangs, ms at most", max(latencies_s) * 1e3)
    assert max(latencies_s) < SLACK_S


# -- the keys rotate ---------------------------------------------------------------------------


async def test_k2_an_overlapping_rotation_refuses_nobody(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    clock: Clock,
    report: Report,
) -> None:
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    old = issuer.token("a")
    assert await status(gateway, old) == 200
    issuer.add_key("b")
    new = issuer.token("b")

    async def accepted() -> bool:
        assert await status(gateway, old) == 200
        return await status(gateway, new) == 200

    to_accept_s = await clock.until(accepted, step_s=1.0, at_most_s=UNKNOWN_KID_S)
    report("K2", "overlapping: new key published to accepted, s", to_accept_s)
    assert to_accept_s > 0
    issuer.withdraw("a")
    # Nobody but the bearer of the old token comes: that must not keep it alive.
    to_refuse_s = await clock.until(answers(gateway, old, 401), step_s=5.0, at_most_s=FRESH_S)
    report("K2", "overlapping: old key withdrawn to refused, s", to_refuse_s)
    assert to_refuse_s > 0
    assert await status(gateway, new) == 200


async def test_k2_an_abrupt_rotation_takes_effect_at_the_first_new_token(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    clock: Clock,
    report: Report,
) -> None:
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    old = issuer.token("a")
    assert await status(gateway, old) == 200
    issuer.add_key("b")
    new, late = issuer.token("b"), issuer.token("a", sub="late")
    issuer.withdraw("a")
    to_accept_s = await clock.until(answers(gateway, new, 200), step_s=1.0, at_most_s=UNKNOWN_KID_S)
    report("K2", "abrupt: new key published to accepted, s", to_accept_s)
    assert to_accept_s > 0
    forwarded = len(upstream.requests)
    to_refuse_s = await clock.until(answers(gateway, old, 401), step_s=1.0, at_most_s=UNKNOWN_KID_S)
    report("K2", "abrupt: old key withdrawn to refused, s", to_accept_s + to_refuse_s)
    assert to_refuse_s == 0
    assert await status(gateway, late) == 401
    assert len(upstream.requests) == forwarded


async def test_k2_a_new_key_under_the_old_name_takes_the_old_ones_tokens_with_it(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    clock: Clock,
    report: Report,
) -> None:
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    old = issuer.token("a")
    assert await status(gateway, old) == 200
    issuer.withdraw("a")
    issuer.add_key("a")
    new = issuer.token("a")
    to_accept_s = await clock.until(answers(gateway, new, 200), step_s=5.0, at_most_s=FRESH_S)
    report("K2", "same kid: new key published to accepted, s", to_accept_s)
    assert to_accept_s > 0
    assert await status(gateway, old) == 401


# -- unknown names -----------------------------------------------------------------------------


async def test_k3_ten_thousand_random_kids_make_one_fetch_in_30_s(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    clock: Clock,
    report: Report,
) -> None:
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    good, claims = issuer.token("a"), issuer.claims()
    assert await status(gateway, good) == 200
    assert issuer.hits["/keys"] == 1

    async def flood(numbers: Iterable[int]) -> None:
        async with RawClient(gateway.port) as client:
            for number in numbers:
                # No key, no look at the signature.
                token = jwt.encode(claims, SECRET, headers={"kid": f"random-{number}"})
                await client.send(request(headers=[f"Authorization: Bearer {token}"]))
                assert (await client.read_response()).status == 401

    fetched: list[int] = []
    for later_s in (0.0, UNKNOWN_KID_S - 0.1, 0.1, UNKNOWN_KID_S - 0.1, 0.1):
        clock.now_s += later_s
        numbers = range(2_000 * len(fetched), 2_000 * (len(fetched) + 1))
        await asyncio.gather(*(flood(numbers[start::4]) for start in range(4)))
        fetched.append(issuer.hits["/keys"] - 1)
    report("K3", "fetches of 10 000 random kids within 60 s", fetched[-1])
    # By 0, 29.9, 30, 59.9 and 60 s after the first fetch.
    assert fetched == [0, 0, 1, 1, 2]
    assert await status(gateway, good) == 200
    assert len(upstream.requests) == 2


# -- never there -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [*FAILURES, "refused"])
async def test_k4_a_cold_start_without_keys_is_503_and_not_401(
    start_gateway: StartGateway,
    upstream: ScriptedUpstream,
    issuer: Issuer,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    report: Report,
) -> None:
    fetches_time_out_after(monkeypatch, 0.25)
    issuer.mode = mode
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    closed = {"jwks": f"http://127.0.0.1:{port}/keys"} if mode == "refused" else {}
    gateway = await start_gateway(guarded(upstream, issuer.provider(**closed)))
    tokens = [issuer.token("a"), issuer.token("a", header={"kid": "unknown"})]
    seen: Counter[int] = Counter()
    for token in tokens * 5:
        response = await with_token(gateway, token)
        assert_error(response, 503, code="auth_unavailable")
        assert response.value("retry-after") == b"1"
        seen[response.status] += 1
    report("K4", f"{mode}: 401s of {seen.total()} at a cold start", seen[401])
    assert upstream.connections == []
    assert mode == "refused" or issuer.hits["/keys"]


async def test_k4_once_the_keys_are_there_it_recovers_by_itself(
    start_gateway: StartGateway, upstream: ScriptedUpstream, issuer: Issuer, report: Report
) -> None:
    issuer.mode = "500"
    gateway = await start_gateway(guarded(upstream, issuer.provider()))
    token = issuer.token("a")
    assert await status(gateway, token) == 503
    issuer.mode = "ok"
    began = time.perf_counter()
    seen: Counter[int] = Counter()
    async with asyncio.timeout(PATIENCE_S):
        while not seen[200]:
            seen[await status(gateway, token)] += 1
    took_s = time.perf_counter() - began
    report("K4", "issuer back to first token accepted, s", took_s)
    assert set(seen) == {200, 503}
    assert took_s < RETRY_S + SLACK_S
    assert len(upstream.requests) == 1
