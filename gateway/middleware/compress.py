"""Compression of responses, for clients that accept it, on routes that enable it.

It is not on by default: if one compressed body contains a secret and text chosen by an attacker,
its length reveals parts of the secret (BREACH, https://www.breachattack.com).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from gateway.exchange import Exchange
from gateway.outcome import Commit
from gateway.proxy.compression import Coding, chosen, encoded, encoder
from gateway.proxy.relay import RelayedResponse
from gateway.request import Request
from gateway.resume.replay import Replay

_SMALLEST_BYTES = 1024
"""Smallest body to compress. Compression of a smaller one does not save a packet."""
_LARGEST_BYTES = 1024 * 1024
"""Largest body to compress. A larger one would block the event loop. (A stream has no size.)"""
_COMPRESSIBLE = re.compile(
    r"text/|application/(?:json|x-ndjson|jsonl|javascript|xml)\b|[a-z0-9./_-]+\+(?:json|xml)\b",
    re.IGNORECASE,
)
_NO_TRANSFORM = re.compile(r"(?:^|[\s,])no-transform(?:$|[\s,])", re.IGNORECASE)
_BODILESS = (204, 304)
_PARTIAL = 206
_FALSE_THEN = (
    "Content-Length",
    "Accept-Ranges",
    "Content-MD5",
    "Digest",
    "Content-Digest",
    "Repr-Digest",
)
"""Headers that are wrong for the compressed body."""


class Compress:
    """Policy of one route. It runs outside every policy that makes a response, even an error."""

    def __init__(self, codings: Sequence[Coding]) -> None:
        """`codings` are in order of preference; a client's own preference goes first."""
        self._codings = tuple(codings)

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Compress the response if client and response allow it."""
        exchange = request.exchange
        if exchange.commit is not Commit.OPEN or not _suits(request, response):
            return response
        _vary(exchange)
        coding = chosen(",".join(request.headers.getall("Accept-Encoding", ())), self._codings)
        if coding is None or _no_transform(request.headers):
            return response
        if isinstance(response, (RelayedResponse, Replay)):
            response.compress(encoder(coding))
        else:
            assert isinstance(response, web.Response)
            assert isinstance(response.body, bytes)
            response.body = encoded(response.body, coding)
        headers = response.headers
        for name in _FALSE_THEN:
            headers.popall(name, None)
        headers["Content-Encoding"] = coding
        etag = headers.get("ETag")
        if etag is not None and not etag.startswith("W/"):
            headers["ETag"] = f"W/{etag}"
        return response


def _suits(request: Request, response: web.StreamResponse) -> bool:
    """Tell whether the response can be compressed, apart from what the client accepts."""
    if request.method == "HEAD" or response.status in _BODILESS or response.status == _PARTIAL:
        return False
    headers = response.headers
    size: int | None
    if isinstance(response, RelayedResponse):
        size = response.size
    elif isinstance(response, Replay):
        size = None
    elif isinstance(response, web.Response) and isinstance(response.body, bytes):
        size = len(response.body)
    else:
        return False
    return (
        (size is None or _SMALLEST_BYTES <= size <= _LARGEST_BYTES)
        and _COMPRESSIBLE.match(headers.get("Content-Type", "")) is not None
        and "Content-Encoding" not in headers
        and not _no_transform(headers)
    )


def _no_transform(headers: Mapping[str, str]) -> bool:
    """Tell whether the headers forbid to change the body (RFC 9111 section 5.2.2.6)."""
    directives = headers.get("Cache-Control")
    return directives is not None and _NO_TRANSFORM.search(directives) is not None


def _vary(exchange: Exchange) -> None:
    """Add Accept-Encoding to the response's Vary header."""
    said = exchange.response_headers
    for at, (name, value) in enumerate(said):
        if name == "Vary":
            said[at] = (name, f"{value}, Accept-Encoding")
            return
    said.append(("Vary", "Accept-Encoding"))
