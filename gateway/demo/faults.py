"""Failing on purpose, so that people and tests can watch what a gateway makes of it.

A request chooses by the header `x-demo-fault: reset@5`, or by its model: `demo-reset`,
`demo-reset@5`. The number says after how many tokens; default 3.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

_AFTER_TOKENS = 3


class Kind(StrEnum):
    """The ways to fail."""

    ERROR = "error"
    """500 in the dialect's shape."""
    OVERLOADED = "overloaded"
    """429 with Retry-After."""
    REFUSE = "refuse"
    """The connection is reset before any byte."""
    HANG = "hang"
    """No response head, ever."""
    GARBAGE = "garbage"
    """Bytes that are not HTTP."""
    SLOW = "slow"
    """Ten times the pace, and ten tokens' wait before the first."""
    STALL = "stall"
    """The stream stops, the connection stays."""
    RESET = "reset"
    """The connection is reset in the middle of the stream."""
    TRUNCATE = "truncate"
    """The connection closes in the middle of the stream, without the last chunk."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A way to fail, and after how many tokens."""

    kind: Kind
    after: int = _AFTER_TOKENS


def choose(request: web.BaseRequest, model: str) -> Fault | None:
    """The fault a request asks for, if it asks for one."""
    wish = request.headers.get("x-demo-fault")
    if wish is None and model.startswith("demo-"):
        wish = model.removeprefix("demo-")
    name, _, after = (wish or "").partition("@")
    try:
        kind = Kind(name)
    except ValueError:
        return None
    return Fault(kind, int(after) if after.isdecimal() else _AFTER_TOKENS)


def reset(request: web.BaseRequest) -> None:
    """Close the connection with a TCP reset."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        # Lingering for no time at all makes a close a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
