"""Failed connections, in the system's words."""

from __future__ import annotations

import errno

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from gateway.cli.failures import why_unreachable

KEY = ConnectionKey("host", 1, False, True, None, None, None)
REFUSED = OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")


@pytest.mark.parametrize(
    ("exc", "why"),
    [
        (REFUSED, "Connection refused"),
        (aiohttp.ClientConnectorError(KEY, REFUSED), "Connection refused"),
        (OSError("no number"), "no number"),
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerDisconnectedError("gone"), "gone"),
    ],
)
def test_a_failed_connection_is_told_in_the_systems_words(exc: Exception, why: str) -> None:
    assert why_unreachable(exc) == why
