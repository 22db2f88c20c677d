"""Request id: taken from a trusted peer if it is well-formed, otherwise generated; sent in every
response.
"""

from __future__ import annotations

import os
import re

from multidict import istr

from gateway.request import Request

_AT_ONCE = 256
_HEADER = istr("X-Request-ID")
_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestId:
    """Policy that sets the exchange's request id."""

    def on_request(self, request: Request) -> None:
        """Set the id."""
        give_request_id(request)


def give_request_id(request: Request) -> bool:
    """Set the exchange's request id. Return True if it was generated here."""
    exchange = request.exchange
    told = exchange.trusted_peer or exchange.unfinished is not None
    theirs = request.headers.get(_HEADER) if told else None
    made_here = theirs is None or not _SANE.fullmatch(theirs)
    exchange.request_id = new_request_id() if made_here or theirs is None else theirs
    exchange.response_headers.append(("X-Request-ID", exchange.request_id))
    return made_here


def new_request_id() -> str:
    """Return 32 random hexadecimal digits. They come from the system's random source, 256 ids at a
    time because each read is a system call.
    """
    if not _ready:
        digits = os.urandom(16 * _AT_ONCE).hex()
        _ready.extend(digits[at : at + 32] for at in range(0, 32 * _AT_ONCE, 32))
    return _ready.pop()


_ready: list[str] = []
# Otherwise two processes would generate the same ids.
os.register_at_fork(after_in_child=_ready.clear)
