"""The request id: taken from a trusted peer if it is sane, made otherwise; on every response."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable

from aiohttp import web

from gateway.exchange import GatewayRequest
from gateway.routing import Handler

_SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def request_id(request: GatewayRequest, handler: Handler) -> Awaitable[web.StreamResponse]:
    """Give the exchange its id."""
    give_request_id(request)
    return handler(request)


def give_request_id(request: GatewayRequest) -> bool:
    """Give the exchange its id; True if it was made here."""
    exchange = request.exchange
    theirs = request.headers.get("X-Request-ID") if exchange.trusted_peer else None
    made_here = theirs is None or not _SANE.fullmatch(theirs)
    exchange.request_id = new_request_id() if made_here or theirs is None else theirs
    exchange.response_headers.append(("X-Request-ID", exchange.request_id))
    return made_here


def new_request_id() -> str:
    """32 hexadecimal digits from the system's random source."""
    return os.urandom(16).hex()
