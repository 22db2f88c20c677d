"""State of a WebSocket request."""

from __future__ import annotations

from gateway.session import By, SessionState, SessionTally


class Opening:
    lines = b"Upgrade: websocket\r\n"


def test_a_tally_keeps_the_first_close() -> None:
    tally = SessionTally()
    tally.closed(1001, By.CLIENT)
    tally.closed(1000, By.UPSTREAM)
    assert (tally.close_code, tally.closed_by) == (1001, By.CLIENT)


def test_a_drain_reaches_the_session_that_asked_for_it() -> None:
    session = SessionState(Opening())
    session.drain()
    drained: list[bool] = []
    session.on_drain = lambda: drained.append(True)
    session.drain()
    session.release()
    session.drain()
    assert drained == [True]
