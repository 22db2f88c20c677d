"""What a request asks for is remembered, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.errors import RequestError
from gateway.exchange import Exchange
from gateway.pipeline import Pipeline
from gateway.request import Request
from gateway.routing.forwarded import TrustedProxies
from gateway.routing.matching import RequestMatcher
from gateway.routing.table import RouteEntry, RouteTable
from tests.support.growth import kept_bytes, memory_growth

ANY = RouteEntry("any", "/", frozenset(), frozenset(), cast(Pipeline, object()), "openai")


def request(target: str, host: str = "h") -> Request:
    headers = CIMultiDictProxy(CIMultiDict({"Host": host}))
    message = SimpleNamespace(
        method="GET", path=target, headers=headers, chunked=False, upgrade=False
    )
    made = SimpleNamespace(
        exchange=Exchange("GET", "192.0.2.1", False),
        message=message,
        method="GET",
        headers=headers,
        body_exists=False,
        client=SimpleNamespace(secure=False),
        known=None,
    )
    return cast(Request, made)


def asked(
    matcher: RequestMatcher, target: str, host: str = "h"
) -> tuple[str, str, str, str | None]:
    made = request(target, host)
    matcher.route(made)
    exchange = made.exchange
    return exchange.host, exchange.path, exchange.query, exchange.route


def test_what_was_asked_before_is_answered_alike() -> None:
    matcher = RequestMatcher(RouteTable([ANY]), TrustedProxies([]))
    for _ in range(2):
        assert asked(matcher, "/v1/x?a=1") == ("h", "/v1/x", "a=1", "any")
        assert asked(matcher, "/v1/x", "other:80") == ("other", "/v1/x", "", "any")
        assert asked(matcher, "http://h/v1/y") == ("h", "/v1/y", "", "any")


def test_what_clients_make_it_remember_is_bounded() -> None:
    def requests() -> Callable[[int], object]:
        matcher = RequestMatcher(RouteTable([ANY]), TrustedProxies([]))
        return lambda number: asked(matcher, f"/{number}")

    assert memory_growth(requests, 4096) < 1.5


def test_long_request_targets_are_not_remembered() -> None:
    matcher = RequestMatcher(RouteTable([ANY]), TrustedProxies([]))
    assert kept_bytes(lambda number: asked(matcher, f"/{number:04000}"), 1000) < 1_000_000


def test_long_hosts_are_not_remembered() -> None:
    matcher = RequestMatcher(RouteTable([ANY]), TrustedProxies([]))

    def refused(number: int) -> None:
        with pytest.raises(RequestError):
            matcher.route(request("/", f"h{number:08000}"))

    assert kept_bytes(refused, 1000) < 1_000_000
