"""Request id: taken from a trusted peer if it is well-formed, otherwise generated; sent in every
response.
"""

from __future__ import annotations

import os
import re

from multidict import istr

from gateway.request import Request

_AT_ONCE = 256
ID_FIELD = b"X-Request-ID: "
_HEADER = istr("X-Request-ID")
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def give_request_id(request: Request) -> bool:
    """Set the exchange's request id. Return True if it was generated here."""
    exchange = request.exchange
    theirs = None
    if exchange.trusted_peer or exchange.delegated is not None:
        theirs = _their_id(request)
    exchange.request_id = request_id = theirs or (_ready.pop() if _ready else new_request_id())
    exchange.id_line = ID_FIELD + request_id.encode() + b"\r\n"
    return theirs is None


class RequestId:
    """Policy that sets the exchange's request id."""

    on_request = staticmethod(give_request_id)


def _their_id(request: Request) -> str | None:
    """Return the id in the request, if its sender may choose one and it is well-formed."""
    exchange = request.exchange
    if not exchange.trusted_peer and exchange.unfinished is None:
        return None
    theirs = request.headers.get(_HEADER)
    return theirs if theirs is not None and _SANE.fullmatch(theirs) else None


def new_request_id() -> str:
    """Return 32 random hexadecimal digits. They come from the system's random source, 256 ids at a
    time because each read is a system call.
    """
    if not _ready:
        _ready.extend(os.urandom(16 * _AT_ONCE).hex(" ", 16).split())
    return _ready.pop()


_ready: list[str] = []
# Otherwise a forked process would generate the same ids as its parent.
os.register_at_fork(after_in_child=_ready.clear)
