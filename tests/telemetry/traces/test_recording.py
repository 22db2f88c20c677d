"""What a worker keeps of requests until it is taken, and the tallies of all of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.telemetry.traces.context import parse_parent
from gateway.telemetry.traces.recording import OTHERS, Trace, TraceRecords
from gateway.usage import Usage

KEY = ("openai", "llama", "acme", "ann", "k7m2", "", "")


def taken(records: TraceRecords, acknowledged: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(records.take(acknowledged))
    return document


def test_what_was_added_is_taken_once_and_in_order() -> None:
    records = TraceRecords()
    for number in range(3):
        records.add({"n": number})
    first = taken(records)
    assert [one["n"] for one in first["records"]] == [0, 1, 2]
    records.add({"n": 3})
    second = taken(records, first["number"])
    assert [one["n"] for one in second["records"]] == [3]
    assert taken(records, second["number"])["records"] == []


def test_a_batch_that_was_not_acknowledged_is_given_again() -> None:
    records = TraceRecords()
    records.add({"n": 1})
    first = taken(records)
    records.add({"n": 2})
    assert taken(records, 0) == first
    assert taken(records, first["number"])["records"] == [{"n": 2}]


def test_many_come_in_several_batches() -> None:
    records = TraceRecords()
    for number in range(600):
        records.add({"n": number})
    found, acknowledged, more = [], 0, True
    while more:
        batch = taken(records, acknowledged)
        assert len(batch["records"]) <= 250
        found += [one["n"] for one in batch["records"]]
        acknowledged, more = batch["number"], batch["more"]
    assert found == list(range(600))


def test_beyond_the_backlog_records_are_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.telemetry.traces.recording._BACKLOG_RECORDS", 10)
    records = TraceRecords()
    for number in range(25):
        records.add({"n": number})
    batch = taken(records)
    assert [one["n"] for one in batch["records"]] == list(range(10))
    assert batch["dropped"] == 15


def test_the_backlog_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.telemetry.traces.recording._BACKLOG_BYTES", 1000)
    records = TraceRecords()
    for _ in range(5):
        records.add({"x": "y" * 400})
    assert records.dropped == 3
    taken(records)
    records.add({"x": "y" * 400})
    assert records.dropped == 3, "there is room again"


def test_what_is_left_at_the_end_is_all_of_it() -> None:
    records = TraceRecords()
    records.add({"n": 1})
    records.take()
    for number in range(300):
        records.add({"n": number})
    records.tally(KEY).requests += 1
    batches = [orjson.loads(batch) for batch in records.rest()]
    assert sum(len(batch["records"]) for batch in batches) == 301
    assert [batch["number"] for batch in batches] == [1, 2, 3]
    assert sum(row[5] for batch in batches for row in batch["tallies"]) == 1


def test_nothing_is_left_of_nothing() -> None:
    assert TraceRecords().rest() == []


def test_tallies_are_differences_and_know_what_they_cost() -> None:
    records = TraceRecords()
    records.price = lambda model, used: (used.input + 2.0 * used.output, "USD")
    tally = records.tally(KEY)
    tally.requests = 2
    tally.add(Usage(10, 5, cached=4))
    (row,) = taken(records)["tallies"]
    assert row == [*KEY[:5], 2, 0, 0, 1, 10, 5, 4, 20.0, "USD", *KEY[5:]]
    records.tally(KEY).requests += 1
    (row,) = taken(records, 1)["tallies"]
    assert row[5:9] == [1, 0, 0, 0]


def test_callers_beyond_a_number_are_counted_together_then_tenants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.telemetry.traces.recording._MOST_TALLIES", 2)
    records = TraceRecords()
    for tenant, subject in ("aa", "ab", "ac", "ad", "be", "cf", "dg", "aa"):
        records.tally(("r", "m", tenant, subject, "", "", "")).requests += 1
    rows = {(row[2], row[3]): row[5] for row in taken(records)["tallies"]}
    assert rows == {
        **{("a", "a"): 2, ("a", "b"): 1, ("a", OTHERS): 2, ("b", OTHERS): 1},
        (OTHERS, OTHERS): 2,
    }


def test_each_attempt_has_a_span_of_its_own_in_the_one_trace() -> None:
    trace = Trace("0af7651916cd43dd8448eb211c80319c", True)
    lines = [trace.header_lines(number).decode().strip() for number in (1, 2)]
    parents = [parse_parent([line.removeprefix("traceparent: ")]) for line in lines]
    assert all(parent is not None for parent in parents)
    assert {parent.trace_id for parent in parents if parent} == {trace.id}
    spans = {parent.span_id for parent in parents if parent}
    assert len(spans) == 2
    assert trace.span not in spans
    trace.sampled = False
    assert trace.header_lines(1).endswith(b"-00\r\n")


def test_the_events_of_a_stream_are_bounded() -> None:
    trace = Trace("0" * 31 + "1", True)
    for _ in range(1000):
        trace.event("client_behind")
    assert len(trace.events) == 50


@pytest.mark.parametrize("value", ["a\ud800b", 2**80, object(), ("\udfff", [1.5, None, True])])
def test_nothing_that_callers_are_called_breaks_it(value: object) -> None:
    """What ends a request must not raise."""
    records = TraceRecords()
    records.add({"subject": value, "n": 1})
    records.tally(("r", "m", "a\ud800b", "", "", "", "")).requests += 1
    batch = taken(records)
    assert batch["records"][0]["n"] == 1
    assert batch["tallies"][0][2] == "a?b"
