"""How far a request under way has come, for those who look: costs the request nothing.

Computed when somebody asks, from moments that are known anyway.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.exchange import Exchange

SILENT_S = 30.0
"""A stream whose backend has sent nothing for this long is silent."""


class Progress(StrEnum):
    """What a request under way waits for."""

    HELD = "held"
    """It was not sent to a backend yet: it is checked, or waits in a queue."""
    WAITING = "waiting"
    """It was sent, and no answer has begun."""
    ANSWERING = "answering"
    """The backend sends its answer."""
    SILENT = "silent"
    """The backend has sent nothing of its stream for `SILENT_S`."""
    CLIENT_BEHIND = "client_behind"
    """The backend waits, because the client does not take what was sent."""
    FOLLOWING = "following"
    """It reads a kept stream."""
    SESSION = "session"
    """It is a WebSocket."""


def progress(exchange: Exchange, now: float) -> tuple[Progress, float | None]:
    """How far it has come, and for how many seconds its backend has sent nothing. None: nobody
    waits for the backend. `now` is in `time.perf_counter` seconds.
    """
    if exchange.tally is not None:
        return Progress.SESSION, None
    attempt = exchange.attempt
    if attempt is None or attempt.response is None:
        waits_s = now - exchange.started_at - (exchange.queue_s or 0.0)
        if exchange.endpoint is not None:
            return Progress.WAITING, waits_s
        return (Progress.FOLLOWING, None) if exchange.streamed else (Progress.HELD, waits_s)
    silent_s = attempt.response.silent_s
    if silent_s is None:
        over = attempt.response.complete or attempt.response.error is not None
        return Progress.ANSWERING if over else Progress.CLIENT_BEHIND, None
    silent = exchange.streamed and silent_s >= SILENT_S
    return Progress.SILENT if silent else Progress.ANSWERING, silent_s
