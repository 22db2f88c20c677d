"""Deliberate faults, so that people and tests can observe how a gateway handles them.

A request selects one by the header `x-demo-fault: reset@5`, or by its model: `demo-reset`,
`demo-reset@5`. The number is the count of tokens before the fault; the default is 3.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

_AFTER_TOKENS = 3


class FaultKind(StrEnum):
    """Kind of fault."""

    ERROR = "error"
    """Status 500 in the dialect's error format."""
    OVERLOADED = "overloaded"
    """Status 429 with Retry-After."""
    REFUSE = "refuse"
    """Connection reset before any byte."""
    HANG = "hang"
    """No response head, ever."""
    GARBAGE = "garbage"
    """Bytes that are not HTTP."""
    SLOW = "slow"
    """Ten times the delay between tokens, and ten such delays before the first token."""
    STALL = "stall"
    """Stream that stops while its connection stays open."""
    RESET = "reset"
    """Connection reset in the middle of the stream."""
    TRUNCATE = "truncate"
    """Connection closed in the middle of the stream, without the last chunk."""


@dataclass(frozen=True, slots=True)
class DemoFault:
    """Kind of fault, and the number of tokens before it."""

    kind: FaultKind
    after: int = _AFTER_TOKENS


def choose(request: web.BaseRequest, model: str) -> DemoFault | None:
    """Return the fault that a request selects, or None."""
    wish = request.headers.get("x-demo-fault")
    if wish is None and model.startswith("demo-"):
        wish = model.removeprefix("demo-")
    name, _, after = (wish or "").partition("@")
    try:
        kind = FaultKind(name)
    except ValueError:
        return None
    return DemoFault(kind, int(after) if after.isdecimal() else _AFTER_TOKENS)


def reset(request: web.BaseRequest) -> None:
    """Close the connection with a TCP reset."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # A linger time of zero turns the close into a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
