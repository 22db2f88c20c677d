"""Classes that ended requests are reported with."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.auth.principal import Principal
from gateway.exchange import Exchange
from gateway.facts import DelegatedIdentity
from gateway.middleware import request_classes
from gateway.middleware.request_classes import RequestClasses
from gateway.outcome import EndReason, Failure

ALICE = Principal("alice", "corp")


def ended(**known: Any) -> Exchange:
    exchange = Exchange("POST", "192.0.2.1", trusted_peer=False)
    exchange.path, exchange.status, exchange.end_reason = "/v1/x", 200, EndReason.COMPLETE
    exchange.principal = ALICE
    for name, value in known.items():
        setattr(exchange, name, value)
    return exchange


def test_requests_that_differ_in_numbers_only_are_of_one_class() -> None:
    classes = RequestClasses()
    first, second = ended(bytes_out=1), ended(bytes_out=2)
    assert classes.of(first) is classes.of(second)
    assert first.request_class is second.request_class


@pytest.mark.parametrize(
    "fact",
    [
        {"path": "/v1/y"},
        {"client_ip": "192.0.2.2"},
        {"route": "other"},
        {"principal": Principal("alice", "corp")},
        {"model": "m"},
        {"served": "n"},
        {"upstream": "up"},
        {"endpoint": "http://up"},
        {"status": 201},
        {"end_reason": EndReason.CLIENT_ABORT},
        {"first_byte_at": 1.0},
    ],
    ids=lambda fact: next(iter(fact)),
)
def test_requests_with_other_facts_are_of_another_class(fact: dict[str, Any]) -> None:
    classes = RequestClasses()
    usual = classes.of(ended())
    assert classes.of(ended(**fact)) is not usual
    assert classes.of(ended()) is usual


@pytest.mark.parametrize(
    "fact",
    [
        {"failure": Failure("e", None)},
        {"attempts": 2},
        {"fallbacks": ["m: 500"]},
        {"continued": 1},
        {"delegated": DelegatedIdentity(None, "r", "id")},
        {"path": "/" + 1000 * "x"},
    ],
    ids=lambda fact: next(iter(fact)),
)
def test_an_unusual_request_is_in_a_class_of_its_own(fact: dict[str, Any]) -> None:
    classes = RequestClasses()
    assert len({classes.of(ended()), classes.of(ended(**fact)), classes.of(ended(**fact))}) == 3


def test_only_so_many_classes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_classes, "KEPT", 2)
    classes = RequestClasses()
    first = classes.of(ended(path="/1"))
    classes.of(ended(path="/2"))
    assert classes.of(ended(path="/1")) is first
    classes.of(ended(path="/3"))
    assert classes.of(ended(path="/1")) is not first
