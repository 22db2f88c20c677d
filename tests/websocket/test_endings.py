"""The end of a session by an error: its reason in the log, and its close frame."""

from __future__ import annotations

import pytest

from gateway.errors import (
    Cancelled,
    CredentialExpired,
    Draining,
    GatewayError,
    RateLimited,
    SessionIdle,
)
from gateway.outcome import EndReason
from gateway.websocket.codes import Code
from gateway.websocket.endings import ending_of


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (Draining(), EndReason.DRAIN, Code.RESTART),
        (Cancelled(), EndReason.CANCELLED, Code.POLICY),
        (CredentialExpired(), EndReason.REFUSED, Code.UNAUTHORIZED),
        (SessionIdle(), EndReason.TIMEOUT, Code.GOING_AWAY),
        (RateLimited("own", 1), EndReason.REFUSED, Code.POLICY),
    ],
)
def test_an_error_ends_a_session_with_its_code_and_message(
    error: GatewayError, reason: EndReason, code: Code
) -> None:
    found, closing = ending_of(error)
    assert (found, closing.code, closing.reason) == (reason, code, error.message)
