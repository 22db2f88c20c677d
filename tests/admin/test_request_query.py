"""Queries for requests: what each parameter selects."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.bad_input import BadInput
from gateway.admin.request_query import (
    FILTERS,
    LIVE_FILTERS,
    PAGING,
    selected,
    wanted_by,
)
from gateway.telemetry.traces.reader import Wanted


def row(**changes: Any) -> dict[str, Any]:
    return {
        **{"request_id": "r-1", "state": "answering", "silent_s": 0.5, "route": "chat"},
        **{"subject": "ann", "tenant": None, "model": "a", "served": None, "upstream": "main"},
        **{"status": 200, "stream": None, **changes},
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"silent": "30s"}, [2]),
        ({"state": "silent"}, [2]),
        ({"model": "b"}, [3]),
        ({"tenant": "ann"}, [1, 2]),
        ({"tenant": "acme"}, [3]),
        ({"status": "2xx", "id": "r-"}, [1, 2]),
        ({"status": "200", "upstream": "main", "route": "chat", "subject": "ann"}, [1, 2]),
        ({"id": "r-3"}, [3]),
        ({"upstream": "other"}, []),
        ({"stream": "s-1"}, [2]),
    ],
)
def test_requests_in_progress_are_selected(query: dict[str, str], expected: list[int]) -> None:
    rows = [
        row(),
        row(request_id="r-2", state="silent", silent_s=31.0, stream="s-1"),
        row(request_id="r-3", state="held", silent_s=None, status=None, served="b", tenant="acme"),
    ]
    found = selected({"requests": rows}, query)["requests"]
    assert [one["request_id"] for one in found] == [f"r-{number}" for number in expected]


def test_a_parameter_that_does_not_exist_is_refused_and_not_ignored() -> None:
    with pytest.raises(BadInput, match="eror: no such parameter; there are route, model"):
        wanted_by({"eror": "overloaded"})
    with pytest.raises(BadInput, match="end: no such parameter"):
        selected({"requests": []}, {"end": "complete"})


def test_every_parameter_that_is_documented_changes_what_is_asked_for() -> None:
    values = {
        **{"status": "5xx", "kept": "slow", "slower": "2s", "silent": "30s", "since": "1"},
        **{"until": "2026-01-01", "sort": "took", "order": "asc", "limit": "7", "before": "1:1"},
    }
    for one in (*FILTERS, *PAGING):
        assert wanted_by({one.name: values.get(one.name, "x")}) != Wanted(), one.name
    assert {one.name for one in LIVE_FILTERS} - {one.name for one in FILTERS} == {"state"}
