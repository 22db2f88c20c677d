"""What happens when an exchange ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.dialects.usage_tap import UsageTap
from gateway.errors import (
    BodyTooLarge,
    GatewayError,
    ModelNotFound,
    RateLimited,
    RequestError,
    UpstreamReset,
)
from gateway.exchange import Exchange
from gateway.outcome import Commit, EndReason, Failure


@pytest.fixture
async def failures() -> AsyncIterator[list[str]]:
    """What the event loop is told of."""
    told: list[str] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    yield told
    loop.set_exception_handler(before)


def fail(_: Exchange) -> None:
    raise RecursionError("of a callback")


async def test_what_fails_at_the_end_keeps_nothing_else_from_being_done(
    failures: list[str],
) -> None:
    exchange = Exchange("GET", "127.0.0.1", trusted_peer=False)
    done: list[int] = []
    exchange.at_end(lambda _: done.append(1))
    exchange.at_end(fail)
    exchange.at_end(lambda _: done.append(2))
    exchange.end(EndReason.COMPLETE)
    exchange.end(EndReason.DRAIN)
    assert done == [2, 1]
    assert failures == ["of a callback"]
    assert exchange.end_reason is EndReason.COMPLETE


async def test_what_fails_when_a_part_is_undone_stops_nothing_either(failures: list[str]) -> None:
    exchange = Exchange("GET", "127.0.0.1", trusted_peer=False)
    done: list[int] = []
    exchange.at_end(lambda _: done.append(1))
    mark = exchange.mark()
    exchange.at_end(lambda _: done.append(2))
    exchange.at_end(fail)
    exchange.unwind(mark)
    assert done == [2]
    assert failures == ["of a callback"]


async def test_usage_that_cannot_be_read_stops_nothing(
    failures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = Exchange("POST", "127.0.0.1", trusted_peer=False)
    exchange.tap = UsageTap()
    monkeypatch.setattr(UsageTap, "usage", lambda *_: fail(exchange))
    done: list[object] = []
    exchange.at_end(lambda ended: done.append(ended.usage))
    exchange.end(EndReason.COMPLETE)
    assert done == [None]
    assert failures == ["of a callback"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UpstreamReset("connection lost"), "connection lost"),
        (BodyTooLarge(99), "The request body is larger than the 99 bytes allowed here."),
        (ModelNotFound(), None),  # its code says as much
        (RateLimited("per-user", 3), None),  # the limit is told by its name
        (RequestError("x" * 9999, code="http_400"), "x" * 2000),
    ],
)
def test_the_reason_of_an_error_is_what_is_special_about_this_request(
    error: GatewayError, reason: str | None
) -> None:
    exchange = Exchange("GET", "127.0.0.1", trusted_peer=False)
    exchange.failed(error)
    assert exchange.failure == Failure(error.code, reason, error.limit, error.retry_after_s)


def test_the_name_of_a_model_that_is_not_served_is_kept_to_a_length_and_is_no_fact() -> None:
    exchange = Exchange("GET", "127.0.0.1", trusted_peer=False)
    exchange.failed(ModelNotFound("x" * 999))
    assert exchange.failure == Failure("model_not_found", None, model="x" * 100)
    assert exchange.model is None


def test_the_message_of_a_backend_completes_the_error_of_the_gateway() -> None:
    exchange = Exchange("GET", "127.0.0.1", trusted_peer=False)
    exchange.passed_on("out of memory")
    assert exchange.failure == Failure(None, "out of memory")
    exchange.failed(ModelNotFound())
    exchange.passed_on("no such model", "backend_error")
    assert exchange.failure == Failure(ModelNotFound.code, "no such model")


def test_a_head_is_sent_once_whether_early_or_not() -> None:
    at_once, early = (Exchange("GET", "127.0.0.1", trusted_peer=False) for _ in range(2))
    assert at_once.answered(404)
    assert (at_once.status, at_once.commit) == (404, Commit.ANSWERED)
    early.opened_early()
    assert not early.answered(200)
    assert (early.status, early.commit) == (200, Commit.EARLY)
