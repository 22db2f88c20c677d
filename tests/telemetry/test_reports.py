"""Reports of ended requests: soon, a few at a time, and before anybody reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, cast

from gateway.exchange import Exchange
from gateway.load.overload import HeldBody
from gateway.outcome import EndReason
from gateway.process_state import ProcessState
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.reports import AT_ONCE, Reports
from gateway.telemetry.traces.recording import TraceRecords


def ended(**known: Any) -> Exchange:
    exchange = Exchange("POST", "192.0.2.1", trusted_peer=False)
    for name, value in known.items():
        setattr(exchange, name, value)
    return exchange


def each(report: Callable[[Exchange], object]) -> Callable[[Iterator[Exchange]], None]:
    def make(ended: Iterator[Exchange]) -> None:
        for exchange in ended:
            report(exchange)

    return make


async def test_a_request_is_reported_soon() -> None:
    reports, reported = Reports(), asyncio.Event()
    exchange = ended()
    exchange.phases = (reports.later([each(lambda _: reported.set())]),)
    exchange.end(EndReason.COMPLETE)
    assert not reported.is_set()
    await asyncio.wait_for(reported.wait(), 20)
    assert not len(reports)


async def test_requests_that_ended_together_are_reported_phase_by_phase() -> None:
    reports, said = Reports(), list[tuple[str, Exchange]]()
    end = reports.later(
        [
            each(lambda exchange: said.append(("a", exchange))),
            each(lambda exchange: said.append(("b", exchange))),
        ]
    )
    first, second = ended(), ended()
    end(first)
    end(second)
    reports.make()
    assert said == [("a", first), ("a", second), ("b", first), ("b", second)]


async def test_only_so_many_requests_wait_for_their_report() -> None:
    reports, said = Reports(), list[Exchange]()
    end = reports.later([said.extend])
    for _ in range(AT_ONCE):
        assert said == []
        end(ended())
    assert len(said) == AT_ONCE


async def test_a_request_with_a_large_body_is_reported_at_once() -> None:
    reports, said = Reports(), list[Exchange]()
    reports.later([said.extend])(ended(held=cast(HeldBody, object())))
    assert len(said) == 1


async def test_a_report_that_fails_stops_no_other() -> None:
    faults, said = list[dict[str, Any]](), list[Exchange]()
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))

    def fail(_: Exchange) -> None:
        raise ValueError

    reports = Reports()
    end = reports.later([each(fail), said.extend])
    end(ended(request_id="one"))
    end(ended(request_id="two"))
    reports.make()
    assert [exchange.request_id for exchange in said] == ["one", "two"]
    assert [fault["message"] for fault in faults] == [
        "at the end of request one",
        "at the end of request two",
    ]


async def test_a_report_that_always_fails_is_given_up() -> None:
    faults = list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))

    def fail(_: Iterator[Exchange]) -> None:
        raise ValueError

    reports = Reports()
    end = reports.later([fail])
    for _ in range(3):
        end(ended())
    reports.make()
    assert len(faults) == 3


async def test_what_is_read_has_every_request_that_has_ended() -> None:
    registry, records, reports, said = Registry(), TraceRecords(), Reports(), list[Exchange]()
    unused = cast(Any, None)
    ProcessState(
        unused, unused, unused, unused, unused, registry=registry, records=records, reports=reports
    )
    end = reports.later([said.extend])
    reads: tuple[Callable[[], object], ...] = registry.snapshot, records.take, records.rest
    for number, read in enumerate(reads, 1):
        end(ended())
        read()
        assert len(said) == number
