"""Fault and remedy by what a backend says in its error message, or by its status."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.telemetry.traces.wording import BACKEND_LOG, Fault

_MESSAGES: tuple[tuple[re.Pattern[str], Fault, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), fault, remedy)
    for pattern, fault, remedy in (
        (
            r"\bout of memory\b|\bOOM\b|\boutofmemory|\bCUDA error\b",
            Fault.BACKEND,
            "The backend has too little memory for what it is asked. Lower its context or batch "
            "size or `admission.concurrency` of the upstream, or drain the endpoint until it is "
            "restarted.",
        ),
        (
            r"\bcontext[ _](?:length|window|size)|\bprompt is too long\b",
            Fault.CLIENT,
            "The client has to send a shorter prompt or ask for fewer tokens, or use a model with "
            "a longer context.",
        ),
        (
            r"\binsufficient_quota\b|\bcurrent quota\b|\bcredit balance\b|\bbilling\b",
            Fault.CONFIGURATION,
            "The provider's account has no quota or credit left: raise it there, or add a "
            "fallback.",
        ),
    )
)

STATUSES: Mapping[int, tuple[Fault, str]] = {
    400: (Fault.CLIENT, "The client has to correct the request: the backend says what is wrong."),
    401: (Fault.CONFIGURATION, "Correct the credential that is sent to the upstream."),
    403: (Fault.CONFIGURATION, "Check what the credential that is sent to the upstream may use."),
    404: (
        Fault.CONFIGURATION,
        "Check `url` of the upstream and the name that the model has there.",
    ),
    408: (Fault.BACKEND, BACKEND_LOG),
    413: (Fault.CLIENT, "The client has to send less."),
    422: (Fault.CLIENT, "The client has to correct the request: the backend says what is wrong."),
    429: (Fault.BACKEND, "The provider's own limit: raise the quota there, or add a fallback."),
}
"""Fault and remedy by the status of a backend's answer."""


def words_for_message(message: str | None) -> tuple[Fault, str] | None:
    """Return fault and remedy for a backend's message, or None if it is not a known one."""
    for pattern, fault, remedy in _MESSAGES:
        if message and pattern.search(message):
            return fault, remedy
    return None
