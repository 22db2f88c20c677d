"""Delivery of alerts: in order, signed, tried again, bounded."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path

import pytest

from gateway.http.egress import Proxy
from gateway.telemetry.alerts.delivery import AlertTarget, Deliveries, DeliveryFailed, deliver
from gateway.telemetry.alerts.event import AlertEvent, AlertFormat, AlertKind
from tests.support.proxies import PASSWORD, USER, http_proxy
from tests.support.upstream import ScriptedUpstream, hang, json_reply
from tests.support.waiting import eventually


def event(name: str = "e") -> AlertEvent:
    return AlertEvent(AlertKind.TEST, name, name, 0.0, id=name)


def target(url: str, secret: bytes | None = None) -> AlertTarget:
    return AlertTarget(f"{url}/hooks/secret-path", AlertFormat.JSON, secret)


async def test_a_request_is_signed_over_its_time_and_body() -> None:
    async with ScriptedUpstream(json_reply({})) as receiver:
        await deliver(target(receiver.url, b"key"), event())
    (sent,) = receiver.requests
    (at,) = sent.values("X-Gateway-Timestamp")
    signed = hmac.new(b"key", at + b"." + sent.body, hashlib.sha256).hexdigest()
    assert sent.values("X-Gateway-Signature") == [f"v1={signed}".encode()]
    assert sent.values("X-Gateway-Event") == [b"e"]
    assert sent.target == "/hooks/secret-path"


async def test_an_event_goes_through_the_proxy_and_a_wrong_credential_is_told(
    tmp_path: Path,
) -> None:
    async with (
        http_proxy(tmp_path) as url,
        ScriptedUpstream(json_reply({})) as receiver,
    ):
        proxy = Proxy.parse(url, USER, PASSWORD)
        await deliver(AlertTarget(receiver.url, AlertFormat.JSON, None, proxy), event())
        wrong = Proxy.parse(url, USER, "wrong-password")
        with pytest.raises(DeliveryFailed) as caught:
            await deliver(AlertTarget(receiver.url, AlertFormat.JSON, None, wrong), event())
    assert len(receiver.requests) == 1
    assert "proxy" in str(caught.value)
    assert "wrong-password" not in str(caught.value)


async def test_a_failure_tells_no_path_of_the_address() -> None:
    with pytest.raises(DeliveryFailed) as caught:
        await deliver(target("http://127.0.0.1:1"), event())
    assert "secret-path" not in str(caught.value)
    assert not caught.value.is_final


@pytest.mark.parametrize(
    ("status", "final"), [("302 x", True), ("404 x", True), ("429 x", False), ("503 x", False)]
)
async def test_a_refusal_is_final_if_it_would_be_refused_again(status: str, final: bool) -> None:
    head = ["Retry-After: 7", "Location: /elsewhere"]
    async with ScriptedUpstream(json_reply({}, status=status, headers=head)) as receiver:
        with pytest.raises(DeliveryFailed) as caught:
            await deliver(target(receiver.url), event())
    assert (caught.value.is_final, caught.value.pause_s) == (final, 7.0)


async def test_events_arrive_in_order_after_failures() -> None:
    counts: Counter[str] = Counter()
    async with ScriptedUpstream(json_reply({}, status="503 x")) as receiver:
        queue = Deliveries(target(receiver.url), counts, lambda *_: None, first_pause_s=0.01)
        for name in "abc":
            queue.add(event(name))
        await eventually(lambda: len(receiver.requests) >= 2)
        receiver.script = json_reply({})
        await eventually(lambda: counts["sent"] == 3)
        queue.take()
    ids = [json.loads(one.body)["id"] for one in receiver.requests]
    assert ids == sorted(ids)
    assert set(ids) == {"a", "b", "c"}


async def test_an_event_that_is_refused_is_given_up_and_reported() -> None:
    counts: Counter[str] = Counter()
    told: list[tuple[str, str]] = []
    async with ScriptedUpstream(json_reply({}, status="400 x")) as receiver:
        queue = Deliveries(target(receiver.url), counts, lambda *each: told.append(each))
        queue.add(event())
        await eventually(lambda: counts["failed"] == 1)
        queue.take()
    assert told == [("e", "status 400")]


async def test_a_full_queue_drops_the_oldest_and_leaves_the_rest_to_a_successor() -> None:
    counts: Counter[str] = Counter()
    told: list[tuple[str, str]] = []
    async with ScriptedUpstream(hang) as receiver:
        queue = Deliveries(target(receiver.url), counts, lambda *each: told.append(each))
        for number in range(103):
            queue.add(event(str(number)))
        await asyncio.sleep(0)
        left = queue.take()
    assert counts["dropped"] == 3
    assert told[0] == ("0", "the queue is full")
    assert [one.id for one in left] == [str(number) for number in range(3, 103)]
    assert queue.take() == []
