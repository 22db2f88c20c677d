"""Traces that are read: lists, filters, pages, sums."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.telemetry.traces.reader import Sort, TraceReader, Wanted
from gateway.telemetry.traces.store import Batch, TraceStore
from tests.telemetry.traces.stored import LONG, NOW, batch, found, numbered


@pytest.mark.parametrize(
    ("sort", "wanted"),
    [
        (Sort.AT, ["r-3", "r-2", "r-1"]),
        (Sort.TOOK, ["r-1", "r-3", "r-2"]),
        (Sort.TTFT, ["r-2", "r-1", "r-3"]),
        (Sort.TOKENS, ["r-3", "r-1", "r-2"]),
        (Sort.SILENT, ["r-1", "r-3", "r-2"]),
    ],
)
def test_a_list_is_sorted_and_paged_in_either_direction(
    store: TraceStore, sort: Sort, wanted: list[str]
) -> None:
    store.add(
        batch(
            1,
            numbered(1, s=9.0, ttft_s=0.25, tokens_out=5, gaps={"longest_s": 8.0}),
            numbered(2, s=1.0, ttft_s=0.75, tokens_out=None),
            numbered(3, s=2.0, ttft_s=None, tokens_out=700, first_byte_s=1.0),
        )
    )
    assert store.flush(LONG)
    for ascending, order in ((False, wanted), (True, wanted[::-1])):
        listed, before = [], None
        for _ in range(3):
            page = TraceReader(store.path).requests(
                Wanted(sort=sort, ascending=ascending, before=before, limit=1)
            )
            listed += [one["request_id"] for one in page["requests"]]
            before = page["next"]
        assert (listed, before) == (order, None)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"route": "b"}, [2]),
        ({"model": "m2"}, [3]),
        ({"model": "fallback"}, [5]),
        ({"model": "asked"}, [5]),
        ({"tenant": "t2"}, [4]),
        ({"tenant": "only-subject"}, [2]),
        ({"status": "503"}, [3]),
        ({"status": "5xx"}, [3]),
        ({"status": "2xx"}, [5, 4, 2, 1]),
        ({"end": "client_abort"}, [4]),
        ({"kept": "error"}, [3]),
        ({"error": "overloaded"}, [3]),
        ({"error": "over"}, []),
        ({"stream": "s-1"}, [1]),
        ({"silent_s": 4.0}, [5]),
        ({"silent_s": 2.5}, [5, 4]),
        ({"slower_s": 3.0}, [5, 1]),
        ({"id": "r-4"}, [4]),
        ({"id": f"{4:032x}"}, [4]),
        ({"id": "0000000000"}, [5, 4, 3, 2, 1]),
        ({"id": "%"}, []),
        ({"since": NOW - 1000 + 4}, [5, 4]),
        ({"until": NOW - 1000 + 2}, [1]),
        ({"route": "b", "status": "5xx"}, []),
        ({"limit": 2}, [5, 4]),
    ],
)
def test_filters(store: TraceStore, wanted: dict[str, Any], expected: list[int]) -> None:
    store.add(
        batch(
            1,
            numbered(1, ttft_s=3.5, stream="s-1"),
            numbered(2, route="b", tenant=None, subject="only-subject"),
            numbered(3, model="m2", status=503, kept="error", error="overloaded"),
            numbered(4, tenant="t2", end="client_abort", gaps={"longest_s": 2.5, "last_s": 1.9}),
            numbered(5, model="asked", served="fallback", ttft_s=None, first_byte_s=None, s=4.0),
        )
    )
    assert found(store, **wanted) == [f"r-{number}" for number in expected]


def test_pages_follow_each_other_without_a_gap_while_more_comes(store: TraceStore) -> None:
    same = [numbered(n, **{}) | {"at": NOW} for n in range(1, 8)]
    store.add(batch(1, *same))
    assert store.flush(LONG)
    reader = TraceReader(store.path)
    seen: list[str] = []
    before: str | None = None
    for page_number in range(4):
        page = reader.requests(Wanted(limit=2, before=before))
        seen += [one["request_id"] for one in page["requests"]]
        before = page["next"]
        store.add(batch(page_number + 2, numbered(100 + page_number) | {"at": NOW + 1}))
        assert store.flush(LONG)
    assert before is None
    assert seen == [f"r-{n}" for n in range(7, 0, -1)]


def test_usage_is_summed_by_what_is_asked_for(store: TraceStore) -> None:
    rows = [
        ["chat", "a", "t1", "ann", "k1", 2, 1, 0, 2, 10, 5, 4, 1.0, "USD"],
        ["chat", "b", "t1", "ann", "", 1, 0, 1, 0, 0, 0, 0, 0.0, ""],
        ["chat", "a", "t2", "bob", "", 4, 0, 0, 4, 40, 20, 0, 3.0, "EUR"],
    ]
    yesterday = NOW - 86400
    store.add(Batch("x", 1, [], rows, NOW))
    store.add(Batch("x", 2, [], rows[:1], yesterday))
    assert store.flush(LONG)
    reader = TraceReader(store.path)
    today = datetime.fromtimestamp(NOW, UTC).date().isoformat()
    by_model = {
        (row["model"], row["currency"]): (row["requests"], row["tokens_in"], row["cost"])
        for row in reader.usage(by=["model"])
    }
    assert by_model == {
        ("a", "USD"): (4, 20, 2.0),
        ("a", "EUR"): (4, 40, 3.0),
        ("b", ""): (1, 0, 0.0),
    }
    assert [row["requests"] for row in reader.usage(by=["day", "tenant"], since=today)] == [1, 2, 4]
    assert sum(row["requests"] for row in reader.usage(until=today)) == 9
    assert reader.usage(since="2999-01-01", by=["day"]) == []
    by_key = {row["key"]: (row["requests"], row["cached"]) for row in reader.usage(by=["key"])}
    assert by_key == {"k1": (4, 8), "": (4, 0)}
    by_subject = {row["subject"]: row["last"] for row in reader.usage(by=["subject"], until=today)}
    assert by_subject == {"ann": NOW, "bob": NOW}
    everything = reader.usage(by=["day", "tenant", "route", "model"])
    assert len(everything) == 4
    assert everything[0]["day"] < today


def test_there_is_nothing_in_a_store_that_was_not_begun(tmp_path: Path) -> None:
    reader = TraceReader(tmp_path / "none.db")
    assert reader.requests(Wanted()) == {"requests": [], "next": None}
    assert reader.trace("x") == []
    assert reader.usage() == []
    assert reader.size()["requests"] == 0
    (tmp_path / "none.db").touch()
    assert reader.requests(Wanted()) == {"requests": [], "next": None}


def test_names_for_filters(store: TraceStore) -> None:
    store.add(batch(1, numbered(1), numbered(2, model="a", route="b", error="upstream_reset")))
    store.add(batch(2, numbered(3, model="invented", error="model_not_found")))
    assert store.flush(LONG)
    names = TraceReader(store.path).names()
    assert names == {
        "routes": ["b", "openai"],
        "models": ["a", "llama"],
        "upstreams": ["main"],
        "tenants": ["acme"],
        "subjects": ["ann"],
        "ends": ["complete"],
        "errors": ["model_not_found", "upstream_reset"],
    }
