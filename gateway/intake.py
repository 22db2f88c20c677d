"""What a request asks for, decided once: its host, its canonical path, who sent it, its route."""

from __future__ import annotations

from functools import lru_cache

from gateway.errors import MethodNotAllowed, NotFound, RequestError
from gateway.exchange import GatewayRequest
from gateway.forwarded import Claims, TrustedProxies
from gateway.routing import METHODS, RouteEntry, RouteTable
from gateway.target import host_name, split_target

_CACHED_TARGETS = 4096


class Intake:
    """Reads a request's head, and finds the route that serves it."""

    def __init__(self, routes: RouteTable, proxies: TrustedProxies) -> None:
        self._routes = routes
        self._proxies = proxies
        self._split = lru_cache(_CACHED_TARGETS)(split_target)
        self._host_name = lru_cache(_CACHED_TARGETS)(host_name)

    def route(self, request: GatewayRequest) -> RouteEntry:
        """Fill in what the request asks for; return its route. Raise GatewayError to refuse it."""
        exchange = request.exchange
        message = request._message
        headers = message.headers
        if message.method == "CONNECT":
            exchange.must_close = True  # what follows is no request
            raise MethodNotAllowed(", ".join(METHODS))
        host = headers["Host"]  # aiohttp's parser refuses HTTP/1.1 with none, or with two
        name = self._host_name(host)
        if name is None:
            raise RequestError("The Host header is malformed.", code="invalid_host")
        if message.chunked and headers["Transfer-Encoding"].strip().lower() != "chunked":
            raise RequestError("Only 'Transfer-Encoding: chunked' is understood.")
        upgrade = "Upgrade" in headers
        if upgrade:
            self._check_upgrade(request)
        target = message.path
        if not target.startswith("/"):
            target = self._origin_form(target, host)
        split = self._split(target)
        if split is None:
            raise RequestError(
                "The path is not in canonical form: send it without '.' and '..' segments, "
                "empty segments, backslashes or needless escapes.",
                code="invalid_path",
            )
        exchange.host = name
        exchange.path, exchange.query = split
        self._find_client(request, host)
        match = self._routes.find(message.method, name, exchange.path)
        route = match.route
        if route is None and not match.allowed:
            raise NotFound
        if route is None or message.method not in METHODS:
            raise MethodNotAllowed(", ".join(sorted(match.allowed or METHODS)))
        if exchange.voucher is not None and exchange.voucher.route != route.name:
            raise NotFound
        exchange.route = route.name
        if upgrade and message.upgrade and not route.upgrades:
            raise _upgrade_refused()
        return route

    @staticmethod
    def _check_upgrade(request: GatewayRequest) -> None:
        """An upgrade that comes with a body is refused: where it ends would be open to debate."""
        request.exchange.must_close = True
        if request.body_exists:
            raise _upgrade_refused()

    @staticmethod
    def _origin_form(target: str, host: str) -> str:
        """The origin-form of an absolute-form target (RFC 9112 section 3.2.2)."""
        scheme, separator, rest = target.partition("://")
        authority, slash, path = rest.partition("/")
        if not separator or scheme.lower() not in ("http", "https"):
            raise RequestError("The request target is malformed.", code="invalid_path")
        if authority.lower() != host.lower():
            raise RequestError("The request target and Host differ.", code="invalid_host")
        return slash + path or "/"

    def _find_client(self, request: GatewayRequest, host: str) -> None:
        exchange = request.exchange
        peer = exchange.client_ip
        secure = request._transport_sslcontext is not None
        if exchange.trusted_peer:
            headers = request._message.headers
            forwarded_host = headers.get("X-Forwarded-Host", "")
            claims = Claims(
                ", ".join(headers.getall("X-Forwarded-For", ())),
                headers.get("X-Forwarded-Proto", ""),
                forwarded_host if self._host_name(forwarded_host) is not None else "",
            )
            origin = self._proxies.origin(peer, secure=secure, host=host, claims=claims)
        else:
            origin = self._proxies.origin(peer, secure=secure, host=host)
        exchange.client_ip = origin.client_ip
        exchange.forwarded = origin.lines


def _upgrade_refused() -> RequestError:
    return RequestError("This path serves no protocol upgrade.", code="upgrade_refused")
