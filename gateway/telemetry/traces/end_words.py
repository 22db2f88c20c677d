"""Words of verdicts without an error of the gateway's: by the end of a request, and by the status
that a backend answered with.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.telemetry.traces.verdict_words import ERRORS
from gateway.telemetry.traces.wording import BACKEND_LOG, Fault, Wording

_CLIENT, _CONFIGURATION, _BACKEND = Fault.CLIENT, Fault.CONFIGURATION, Fault.BACKEND

ENDS: Mapping[str, Wording] = {
    "client_abort": Wording(
        _CLIENT,
        "The client left after {took}, {when}{behind}.",
        "Nothing, if the client cancelled on purpose. Else compare its timeout with the time to "
        "the first token.",
    ),
    "upstream_reset": ERRORS["upstream_reset"],
    "timeout": ERRORS["upstream_idle_timeout"],
    "drain": ERRORS["gateway_draining"],
    "refused": Wording(
        _CLIENT, "The gateway ended the session after {took}{why}.", "See its close code."
    ),
    "cancelled": ERRORS["request_cancelled"],
    "internal_error": ERRORS["internal_error"],
}
"""Templates by the end of a request, used without an error. `complete` is judged by the status."""

ABANDONED = Wording(
    _CLIENT,
    "The client left, and nobody read the stream any more: the generation was cancelled after "
    "{took}, {when}.",
    "Nothing, if the client left on purpose. Else compare its timeout with the time to the first "
    "token; a grace in `resume` keeps the generation for a client that comes back.",
)
"""Words for `stream_cancelled` by departure."""

STATUSES: Mapping[int, tuple[Fault, str]] = {
    400: (_CLIENT, "The client has to correct the request: the backend says what is wrong."),
    401: (_CONFIGURATION, "Correct the credential that is sent to the upstream."),
    403: (_CONFIGURATION, "Check what the credential that is sent to the upstream may use."),
    404: (_CONFIGURATION, "Check `url` of the upstream and the name that the model has there."),
    408: (_BACKEND, BACKEND_LOG),
    413: (_CLIENT, "The client has to send less."),
    422: (_CLIENT, "The client has to correct the request: the backend says what is wrong."),
    429: (_BACKEND, "The provider's own limit: raise the quota there, or add a fallback."),
}
"""Fault and remedy by the status of a backend's answer."""
