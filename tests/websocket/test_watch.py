"""The timer of a session: idle timeout, pings, and the caller's credential."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from gateway.errors import CredentialExpired, GatewayError
from gateway.websocket.watch import SessionOptions, Validity, Watch
from tests.support.waiting import PATIENCE_S

QUIET = SessionOptions(max_message_bytes=1, idle_s=1000.0, ping_s=None, messages=None)


class Session:
    """Session that records what its watch tells, and stops the watch after `count` calls."""

    def __init__(self, count: int = 1) -> None:
        self.told: list[str] = []
        self.done = asyncio.Event()
        self._count = count
        self._watch: Watch | None = None

    def watch(self, options: SessionOptions, validity: Validity | None = None) -> None:
        self._watch = Watch(self, options, validity)
        self._watch.look()

    def stop(self) -> None:
        if self._watch is not None:
            self._watch.stop()

    def fail(self, error: GatewayError) -> None:
        self._tell(type(error).__name__)

    def idle(self) -> None:
        self._tell("idle")

    def ping(self) -> None:
        self._tell("ping")

    def warn(self, left_s: float) -> None:
        self._tell(f"{left_s * 1000:.0f} ms left")

    def expire(self) -> None:
        self._tell("expire")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        if len(self.told) == self._count:
            self.stop()
            self.done.set()


@dataclass
class Credential:
    """Credential that is valid for `checks` looks."""

    checks: int

    def holds(self) -> bool:
        self.checks -= 1
        return self.checks >= 0

    def left_s(self) -> float:
        return 0.001


@pytest.fixture
def sessions() -> Iterator[list[Session]]:
    made: list[Session] = []
    yield made
    for session in made:
        session.stop()


async def outcome(
    sessions: list[Session], count: int, options: SessionOptions, validity: Validity | None = None
) -> list[str]:
    session = Session(count)
    sessions.append(session)
    session.watch(options, validity)
    async with asyncio.timeout(PATIENCE_S):
        await session.done.wait()
    return session.told


async def test_a_session_without_messages_is_idle(sessions: list[Session]) -> None:
    assert await outcome(sessions, 1, replace(QUIET, idle_s=0.01)) == ["idle"]


async def test_pings_are_sent_at_their_interval(sessions: list[Session]) -> None:
    assert await outcome(sessions, 3, replace(QUIET, ping_s=0.002)) == ["ping"] * 3


async def test_a_session_fails_when_its_credential_ends(sessions: list[Session]) -> None:
    told = await outcome(sessions, 1, QUIET, Credential(checks=3))
    assert told == [CredentialExpired.__name__]


async def test_the_end_of_a_lifetime_is_announced_once(sessions: list[Session]) -> None:
    told = await outcome(sessions, 2, replace(QUIET, lifetime_s=0.2))
    assert told[1] == "expire"
    assert told[0] in [f"{ms} ms left" for ms in range(5, 21)]
