"""Progress of a request in flight, for dashboards and the admin API. It costs the request nothing.

Computed on demand from times that are recorded anyway.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.exchange import Exchange
from gateway.outcome import Commit

SILENT_S = 30.0
"""Seconds without a byte from the backend after which a stream counts as silent."""


class Progress(StrEnum):
    """Current phase of a request in flight."""

    HELD = "held"
    """Not sent to a backend yet: it is being checked, or waits in a queue."""
    WAITING = "waiting"
    """Sent to a backend; no response has begun."""
    ANSWERING = "answering"
    """The backend is sending its response."""
    SILENT = "silent"
    """The backend has sent nothing for `SILENT_S`, of a stream that the client has open. It may not
    have begun its response: see `gateway/proxy/early_head.py`.
    """
    CLIENT_BEHIND = "client_behind"
    """The upstream is paused, because the client does not read what was sent."""
    FOLLOWING = "following"
    """Reading a stored stream, or following a channel."""
    SESSION = "session"
    """A WebSocket session."""


def progress(exchange: Exchange, now: float) -> tuple[Progress, float | None]:
    """Return the request's phase, and for how many seconds its backend has sent nothing. The
    seconds are None if nothing is expected from the backend. `now` is in `time.perf_counter`
    seconds.
    """
    if exchange.session is not None and exchange.session.tally is not None:
        return Progress.SESSION, None
    attempt = exchange.attempt
    if attempt is None or attempt.response is None:
        waits_s = now - exchange.started_at
        if exchange.queued is not None:
            waits_s -= exchange.queued.seconds
        if exchange.endpoint is not None:
            silent = exchange.commit is Commit.EARLY and waits_s >= SILENT_S
            return Progress.SILENT if silent else Progress.WAITING, waits_s
        return (Progress.FOLLOWING, None) if exchange.streamed else (Progress.HELD, waits_s)
    silent_s = attempt.response.silent_s
    if silent_s is None:
        over = attempt.response.complete or attempt.response.error is not None
        return Progress.ANSWERING if over else Progress.CLIENT_BEHIND, None
    silent = exchange.streamed and silent_s >= SILENT_S
    return Progress.SILENT if silent else Progress.ANSWERING, silent_s
