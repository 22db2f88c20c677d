"""Request matching: host, canonical path, client and route of a request, determined once."""

from __future__ import annotations

from functools import lru_cache

from aiohttp.hdrs import HOST, TRANSFER_ENCODING, UPGRADE

from gateway.errors import MethodNotAllowed, NotFound, RequestError
from gateway.exchange import Exchange
from gateway.http.request_target import LONGEST_HOST, host_name, split_target
from gateway.request import Request
from gateway.routing.forwarded import Claims, TrustedProxies
from gateway.routing.table import METHODS, Match, RouteEntry, RouteTable

_REMEMBERED = 4096
_LONGEST_REMEMBERED = 512
"""Maximum length of a remembered request target, in characters."""

Asked = tuple[str, str, str, Match]
"""Host name, canonical path, query, and the result of the route table."""


class ServerOptions(Exception):
    """`OPTIONS *` asks for the options of the server, not of a path (RFC 9110 section 9.3.7)."""


class _Routing:
    """Result for a known head."""

    __slots__ = (
        "client_ip",
        "forwarded",
        "host",
        "matcher",
        "path",
        "public_url",
        "query",
        "route",
    )

    def __init__(self, matcher: RequestMatcher, route: RouteEntry, exchange: Exchange) -> None:
        self.matcher = matcher
        self.route = route
        self.host, self.path, self.query = exchange.host, exchange.path, exchange.query
        self.client_ip = exchange.client_ip
        self.forwarded, self.public_url = exchange.forwarded, exchange.public_url


class RequestMatcher:
    """Reader of request heads, which finds the route of a request."""

    def __init__(self, routes: RouteTable, proxies: TrustedProxies) -> None:
        self._routes = routes
        self._proxies = proxies
        self._asked: dict[tuple[str, str, str], Asked] = {}
        self._known_name = lru_cache(_REMEMBERED)(host_name)

    def route(self, request: Request) -> RouteEntry:
        """Fill in the exchange from the request head, and return the route.

        Raise GatewayError to refuse the request, ServerOptions for `OPTIONS *`.
        """
        exchange, known = request.exchange, request.known
        if known is not None:
            found = known.routing
            if type(found) is _Routing and found.matcher is self:
                exchange.host, exchange.path, exchange.query = found.host, found.path, found.query
                exchange.client_ip = found.client_ip
                exchange.forwarded, exchange.public_url = found.forwarded, found.public_url
                exchange.route = found.route.name
                return found.route
        message = request.message
        headers = message.headers
        if message.method == "CONNECT":
            exchange.must_close = True  # the bytes that follow are no request
            raise MethodNotAllowed(", ".join(METHODS))
        if TRANSFER_ENCODING in headers:
            # An empty value counts as well: beside Content-Length, this parser uses the length, and
            # another parser may not (RFC 9112 section 6.3).
            codings = [coding.strip().lower() for coding in headers.getall(TRANSFER_ENCODING)]
            if codings != ["chunked"]:
                raise RequestError("Only 'Transfer-Encoding: chunked' is understood.")
        host = headers[HOST]  # aiohttp's parser refuses HTTP/1.1 with no Host header, or with two
        asked = self._asked.get((message.method, message.path, host))
        if asked is None:
            asked = self._ask(message.method, message.path, host)
        upgrade = UPGRADE in headers
        if upgrade:
            self._check_upgrade(request)
        exchange.host, exchange.path, exchange.query, match = asked
        self._find_client(request, host)
        route = match.route
        if route is None and not match.allowed:
            if exchange.path == "*":
                raise ServerOptions
            raise NotFound
        if route is None or message.method not in METHODS:
            raise MethodNotAllowed(", ".join(sorted(match.allowed or METHODS)))
        if exchange.delegated is not None and exchange.delegated.route != route.name:
            raise NotFound
        exchange.route = route.name
        if upgrade and message.upgrade and not route.upgrades:
            raise _upgrade_refused()
        if known is not None:
            known.routing = _Routing(self, route, exchange)
        return route

    def _ask(self, method: str, target: str, host: str) -> Asked:
        """Parse and match a request target. Results are remembered, because clients repeat
        requests; the size of this cache is bounded.
        """
        name = self._host_name(host)
        if name is None:
            raise RequestError("The Host header is malformed.", code="invalid_host")
        if target == "*":  # the parser accepts it for OPTIONS only
            return name, target, "", Match(None)
        origin_form = target if target.startswith("/") else self._origin_form(target, host)
        split = split_target(origin_form)
        if split is None:
            raise RequestError(
                "The path is not in canonical form: send it without '.' and '..' segments, "
                "empty segments, backslashes or needless escapes.",
                code="invalid_path",
            )
        path, query = split
        asked = name, path, query, self._routes.find(method, name, path)
        if len(target) <= _LONGEST_REMEMBERED:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            self._asked[method, target, host] = asked
        return asked

    def _host_name(self, host: str) -> str | None:
        """Return the name in a Host header, None if it is malformed."""
        return self._known_name(host) if len(host) <= LONGEST_HOST else None

    @staticmethod
    def _check_upgrade(request: Request) -> None:
        """Refuse an upgrade with a body: parsers may disagree on where the body ends. Raise
        RequestError.
        """
        request.exchange.must_close = True
        if request.body_exists:
            raise _upgrade_refused()

    @staticmethod
    def _origin_form(target: str, host: str) -> str:
        """Convert an absolute-form target to origin-form (RFC 9112 section 3.2.2). Raise
        RequestError.
        """
        scheme, separator, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        if not separator or scheme.lower() not in ("http", "https"):
            raise RequestError("The request target is malformed.", code="invalid_path")
        default_port = ":443" if scheme.lower() == "https" else ":80"
        if authority.lower().removesuffix(default_port) != host.lower().removesuffix(default_port):
            raise RequestError("The request target and Host differ.", code="invalid_host")
        return slash + path or "/"

    def _find_client(self, request: Request, host: str) -> None:
        exchange = request.exchange
        peer = exchange.client_ip
        secure = request.client.secure
        if exchange.trusted_peer:
            headers = request.headers
            forwarded_host = headers.get("X-Forwarded-Host", "")
            claims = Claims(
                ", ".join(headers.getall("X-Forwarded-For", ())),
                headers.get("X-Forwarded-Proto", ""),
                forwarded_host if self._host_name(forwarded_host) is not None else "",
            )
            origin = self._proxies.origin(peer, secure, host, claims)
        else:
            origin = self._proxies.origin(peer, secure, host, None)
        exchange.client_ip = origin.client_ip
        exchange.forwarded = origin.lines
        exchange.public_url = origin.url


def _upgrade_refused() -> RequestError:
    return RequestError("This path serves no protocol upgrade.", code="upgrade_refused")
