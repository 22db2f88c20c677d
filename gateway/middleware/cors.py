"""CORS: decides from which origins a browser may send requests (WHATWG Fetch, "CORS protocol").

Origins are compared as a whole, never by suffix. Preflight requests are answered here, before
authentication, because a browser sends no credential with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from aiohttp import web

from gateway.errors import MethodNotAllowed
from gateway.request import Request

_ANY = "*"
_MOST_ASKED = 100
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Cors:
    """CORS policy of one route."""

    def __init__(
        self,
        origins: Iterable[str],
        *,
        methods: Sequence[str],
        headers: Sequence[str],
        expose: Sequence[str],
        credentials: bool,
        max_age_s: float,
        serves_options: bool,
    ) -> None:
        """`headers` are names of request headers; a name that ends in * matches all headers with
        that prefix. `serves_options`: the route itself serves OPTIONS requests that are no
        preflights.
        """
        self._origins = frozenset(origins)
        self._methods = tuple(methods)
        self._serves_options = serves_options
        common = [("Access-Control-Allow-Credentials", "true")] if credentials else []
        self._simple = [*common]
        if expose:
            self._simple.append(("Access-Control-Expose-Headers", ", ".join(expose)))
        self._preflight = [
            *common,
            ("Access-Control-Allow-Methods", ", ".join(methods)),
            ("Access-Control-Max-Age", str(int(max_age_s))),
        ]
        self._headers = tuple(name for name in headers if not name.endswith(_ANY))
        self._prefixes = tuple(
            name.lower().removesuffix(_ANY) for name in headers if name.endswith(_ANY)
        )

    def on_request(self, request: Request) -> web.StreamResponse | None:
        """Answer a preflight, or add CORS headers to the response. Raise MethodNotAllowed for any
        other OPTIONS request if the route serves none.
        """
        headers = request.headers
        origin = headers.get("Origin")
        allowed = self._allowed(origin)
        said = request.exchange.response_headers
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in headers
        if preflight:
            said.append(
                ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
            )
        elif _ANY not in self._origins:
            said.append(("Vary", "Origin"))
        if allowed is not None:
            said.append(("Access-Control-Allow-Origin", allowed))
            said += self._preflight if preflight else self._simple
            if preflight and (names := self._allowed_headers(request)):
                said.append(("Access-Control-Allow-Headers", names))
        if preflight:
            return web.Response(status=204)
        if request.method == "OPTIONS" and not self._serves_options:
            raise MethodNotAllowed(", ".join(self._methods))
        return None

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Remove the upstream's CORS headers: a browser rejects a response with two values."""
        for name in [name for name in response.headers if _is_cors(name)]:
            del response.headers[name]
        return response

    def _allowed_headers(self, request: Request) -> str:
        """Return the value of Access-Control-Allow-Headers.

        A header that matches a prefix is listed by its full name: for a browser, `*` does not cover
        Authorization, and covers nothing in requests with cookies.
        """
        asked = ",".join(request.headers.getall("Access-Control-Request-Headers", ()))
        names = dict.fromkeys(self._headers)
        for name in asked.split(",")[:_MOST_ASKED]:
            name = name.strip()
            if name.lower().startswith(self._prefixes) and _NAME.fullmatch(name):
                names[name] = None
        return ", ".join(names)

    def _allowed(self, origin: str | None) -> str | None:
        """Return the value of Access-Control-Allow-Origin, or None."""
        if _ANY in self._origins:
            return _ANY
        return origin if origin in self._origins else None


def _is_cors(name: str) -> bool:
    return name.lower().startswith("access-control-")
