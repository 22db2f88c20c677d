"""Sessions of operators in the store: idle, ended, bounded."""

from __future__ import annotations

from gateway.admin.sessions import OperatorSession, OperatorSessions, digest_of
from tests.support.operators import Clock, FailingStore

IDLE_S = 3600.0


def session(clock: Clock, name: str = "ann", lasts_s: float = 8 * 3600.0) -> OperatorSession:
    """Return a session that begins now."""
    return OperatorSession(name, "here", clock.now, clock.now + lasts_s)


async def test_a_session_that_is_not_used_ends_and_one_that_is_used_does_not() -> None:
    clock = Clock()
    sessions = OperatorSessions(FailingStore(clock).records, now=clock)
    used, idle = [await sessions.begin(session(clock), IDLE_S) for _ in range(2)]
    for _ in range(3):
        clock.now += IDLE_S * 0.6
        assert await sessions.find(used, IDLE_S) is not None
    assert await sessions.find(idle, IDLE_S) is None
    clock.now += IDLE_S * 0.9
    assert await sessions.find(used, IDLE_S, uses=False) is not None
    clock.now += IDLE_S * 0.2  # a look is no use
    assert await sessions.find(used, IDLE_S) is None


async def test_use_never_makes_a_session_longer_than_it_was_given() -> None:
    clock = Clock()
    sessions = OperatorSessions(FailingStore(clock).records, now=clock)
    name = await sessions.begin(session(clock, lasts_s=100.0), IDLE_S)
    clock.now += 99
    assert await sessions.find(name, IDLE_S) is not None
    clock.now += 2
    assert await sessions.find(name, IDLE_S) is None


async def test_a_session_that_ends_is_not_revived_by_a_request_at_the_same_time() -> None:
    clock = Clock()
    store = FailingStore(clock)
    here, there = [OperatorSessions(store.records, now=clock) for _ in range(2)]
    name = await here.begin(session(clock), IDLE_S)
    clock.now += IDLE_S / 2
    assert await there.end(digest_of(name))
    await here.find(name, IDLE_S)
    clock.now += 2
    assert await here.find(name, IDLE_S) is None
    assert await there.find(name, IDLE_S) is None
    assert not await there.end(digest_of(name))


async def test_sessions_are_bounded_and_the_oldest_goes() -> None:
    clock = Clock()
    sessions = OperatorSessions(FailingStore(clock).records, now=clock, most=5)
    names = []
    for number in range(8):
        clock.now += 1.0
        names.append(await sessions.begin(session(clock, str(number)), IDLE_S))
    assert [one.name for one in await sessions.all()] == ["7", "6", "5", "4", "3"]
    assert await sessions.find(names[0], IDLE_S) is None
    assert await sessions.find(names[-1], IDLE_S) is not None


async def test_the_store_does_not_have_the_cookie() -> None:
    clock = Clock()
    store = FailingStore(clock)
    name = await OperatorSessions(store.records, now=clock).begin(session(clock), IDLE_S)
    for kind in ("operator_session", "operator_seen"):
        for key, value in (await store.kept.all(kind)).items():
            assert name not in key
            assert name.encode() not in value
