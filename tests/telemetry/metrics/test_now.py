"""The document of the current state and the last hour."""

from __future__ import annotations

import pytest

from gateway.telemetry.metrics.now import now
from tests.telemetry.metrics.histories import filled, merged


def test_the_document_of_now_says_it_by_label_and_for_the_hour() -> None:
    history = filled(24)
    document = now(history, merged(0, streams=5), 1e9)
    total = document["total"]
    assert total["requests_per_s"] == pytest.approx(2.2)
    assert total["errors_per_s"] == pytest.approx(0.2)
    assert total["active_streams"] == 5
    assert 0.1 < total["ttft_s"]["p50"] <= 0.25
    assert total["tokens_per_s"] is None
    row = next(row for row in document["routes"] if row["name"] == "r")
    assert row["requests_per_s"] == pytest.approx(2.0)
    assert row["active_streams"] == 5
    assert [row["name"] for row in document["models"]] == ["m"]
    hour = document["hour"]
    assert {len(values) for values in hour.values()} == {len(hour["at"])}
    assert hour["requests_per_s"] == pytest.approx([2.2] * len(hour["at"]))
    assert hour["active_streams"][-1] == 24
