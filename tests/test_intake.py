"""What a request asks for is remembered, within bounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from multidict import CIMultiDict, CIMultiDictProxy

from gateway.exchange import Exchange
from gateway.forwarded import TrustedProxies
from gateway.intake import Intake
from gateway.pipeline import Pipeline
from gateway.request import Request
from gateway.routing import RouteEntry, RouteTable

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


def asked(intake: Intake, target: str, host: str = "h") -> tuple[str, str, str, str | None]:
    made = request(target, host)
    intake.route(made)
    exchange = made.exchange
    return exchange.host, exchange.path, exchange.query, exchange.route


def test_what_was_asked_before_is_answered_alike() -> None:
    intake = Intake(RouteTable([ANY]), TrustedProxies([]))
    for _ in range(2):
        assert asked(intake, "/v1/x?a=1") == ("h", "/v1/x", "a=1", "any")
        assert asked(intake, "/v1/x", "other:80") == ("other", "/v1/x", "", "any")
        assert asked(intake, "http://h/v1/y") == ("h", "/v1/y", "", "any")


def test_what_clients_make_it_remember_is_bounded() -> None:
    intake = Intake(RouteTable([ANY]), TrustedProxies([]))
    for number in range(5000):
        asked(intake, f"/{number}")
    asked(intake, "/" + "x" * 4000)
    assert 0 < len(intake._asked) <= 4096
    assert max(len(target) for _, target, _ in intake._asked) <= 512
